"""Memory of a step: said before it is taken, and bounded by configuration."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from small_runs import RATE, quiet, small_config, weights

from wavenet import load_model
from wavenet.classifier.data import EpochBatchSampler
from wavenet.classifier.inference import evaluate
from wavenet.classifier.inference.evaluate import choose_clips
from wavenet.classifier.memory import inference_bytes, memory_of, samples_within, training_bytes
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training import step_memory, train
from wavenet.classifier.training.batches import Shares
from wavenet.errors import ConfigError
from wavenet.networks.architecture import Architecture

SMALL = {
    "input": "mu-law",
    "stem_stride": 8,
    "stem_kernel_size": 32,
    "residual_channels": 32,
    "dilation_channels": 32,
    "skip_channels": 64,
    "layers_per_stack": 7,
    "stacks": 2,
    "pooling": "attention",
}
NARROW = {"residual_channels": 16, "dilation_channels": 16, "skip_channels": 32, "stacks": 1}
FILTERS = {**SMALL, "filters": 64, "stem_kernel_size": 200, "stem_stride": 40, "frame_ms": 40.0}
CASES = {
    "defaults": ({}, 1, 12000),
    "checkpoints": ({"checkpoint_every": 5}, 2, 12000),
    "small": (SMALL, 32, 24000),
    "wide": ({"residual_channels": 128, "dilation_channels": 128, "stacks": 1}, 1, 12000),
    "next sample": ({**NARROW, "next_sample_weight": 1.0}, 4, 24000),
    "filters": (FILTERS, 16, 40000),
    "filter layers": ({**FILTERS, "filter_layers": 2, "stem_stride": 160}, 16, 40000),
    "filter norm": (
        {**FILTERS, "filter_layers": 2, "filter_norm": "batch", "stem_stride": 160},
        16,
        40000,
    ),
    "filter blocks": (
        {
            **{**FILTERS, "filter_layers": 2, "filter_norm": "batch", "stem_stride": 160},
            **{"filter_blocks": 2, "filter_channels": 24},
        },
        16,
        40000,
    ),
    "one-hot": ({**NARROW, "input": "one-hot", "stem_kernel_size": 8}, 8, 24000),
}
# In a process of its own: how much its peak rises above what it had after a first, small step.
MEASURED = """
import sys, torch
from wavenet.classifier.data import Batch
from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.classifier.run_config import TrainingConfig
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.processes import processes
from wavenet_kernels import kept

def batch(clips, samples):
    lengths = torch.full((clips,), samples)
    return Batch(0.1 * torch.randn(clips, samples), lengths, torch.zeros_like(lengths))

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

def rise(compute, clips, samples):
    compute(1, 4000)
    kept.release()
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is what there is now
    compute(clips, samples)
    return status("VmHWM") - before

with processes("cpu") as accelerator:
    for fields, clips, samples in eval(sys.argv[1]):
        model = WaveNetClassifier(WaveNetConfig(labels=("a", "b"), **fields))
        learner = Learner(model, TrainingConfig(), accelerator, 10)

        def train(clips, samples):
            learner.step([batch(clips, samples)], clips, 0)

        def infer(clips, samples):
            with torch.inference_mode():
                model.eval()(batch(clips, samples).waveform)

        print(rise(train, clips, samples), rise(infer, clips, samples), flush=True)
"""


@pytest.fixture(scope="module")
def measured():
    """Bytes that each case took, in training and in a forward pass alone."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, repr(list(CASES.values()))],
        # What is freed goes back to the system at once.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return dict(zip(CASES, lines, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_a_network_takes_is_known(measured, name):
    """And what is said is enough."""
    fields, clips, samples = CASES[name]
    training, inference = measured[name]
    said = training_bytes(Architecture(**fields), clips * samples, clip_samples=samples)
    assert 0.85 * said < training < 1.05 * said
    said = inference_bytes(Architecture(**fields), clips * samples, clip_samples=samples)
    assert 0.4 * said < inference < 1.05 * said


def test_the_default_batch_of_seven_seconds_would_take_thirty_gigabytes():
    assert 25e9 < training_bytes(Architecture(), 32 * 7 * 16000) < 35e9


@pytest.mark.parametrize("gigabytes", [0.002, 0.05, 0.5, 2.0])
def test_as_many_samples_as_there_is_room_for(gigabytes):
    """Of a network that keeps gates as long as they are few, too."""
    model = Architecture(residual_channels=64, dilation_channels=64, kernel_size=2, stacks=1)
    samples = samples_within(gigabytes, lambda samples: training_bytes(model, samples))
    needed = training_bytes(model, samples)
    assert needed <= gigabytes * 1e9 and (needed > 0.5 * gigabytes * 1e9 or samples == 1)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_parts_have_no_more_samples_than_there_is_room_for(processes):
    """Every clip once, in the same batches; a clip that has no room for it is alone."""
    lengths = [100 + 37 * (clip % 11) for clip in range(40)] + [5000]

    def shares(process, room):
        sampler = EpochBatchSampler([0, 1] * 20 + [0], 12, seed=3, lengths=lengths)
        share = Shares(sampler, 2, processes, process, lengths, room)
        share.set_position(1, 0)
        return share

    whole = list(shares(0, None).cut_batches())
    cut = list(shares(0, 1000).cut_batches())
    for parts, cut_parts in zip(whole, cut, strict=True):
        assert len(parts) == 2
        assert processes > 1 or len(cut_parts) > 2
        assert [d for part in cut_parts for d in part] == [d for part in parts for d in part]
    dealt = [list(shares(process, 1000)) for process in range(processes)]
    for part, *mine in zip((part for parts in cut for part in parts), *dealt, strict=True):
        assert sorted(draw for draws in mine for draw in draws) == sorted(part)
        longest = max(lengths[draw.clip] for draw in part)
        assert len(mine[0]) == 1 or len(mine[0]) * longest <= 1000
    # Where all fit, parts are those of `accumulation` alone.
    assert list(shares(0, 10**9)) == list(shares(0, None))


def test_a_run_in_parts_that_fit_learns_what_one_of_whole_batches_does(recordings, tmp_path):
    """Also from its middle, with other parts: they are about the machine."""
    more = ("training.epochs=2", "model.dropout=0", "augmentation.mixup_alpha=0.4")
    whole = small_config(recordings, tmp_path, *more, "training.memory_gb=0")
    fits = small_config(recordings, tmp_path, *more, "training.memory_gb=0.0002")
    train(whole, tmp_path / "whole", console=quiet())
    said = Console(record=True, width=300, file=open("/dev/null", "w"))
    train(fits, tmp_path / "cut", console=said)
    assert re.search(r"up to 2 clips of 0\.[23]\d* s at a time", said.export_text())
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=1e-3, atol=1e-4), name
    assert whole.differences(fits) == []


@pytest.fixture
def long_clips(tmp_path):
    """Two classes of 0.2 s, but for one clip of a minute."""
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(4):
            seconds = 60 if (label, i) == ("a", 2) else 0.2
            noise = 0.1 * random.standard_normal(int(RATE * seconds))
            soundfile.write(tmp_path / "data" / label / f"{i}.wav", noise, RATE)
    return tmp_path / "data"


def test_long_clips_are_cropped_by_default_and_that_is_said(long_clips, tmp_path):
    config = small_config(long_clips, tmp_path, f"data.source={long_clips}", "training.epochs=1")
    said = Console(record=True, width=300, file=open("/dev/null", "w"))
    train(config, tmp_path / "run", console=said)
    text = said.export_text()
    assert "1 of 8 clips are longer than 10 s: so much of them is heard at a time" in text
    assert "clips of 10 s at a time" in text


@pytest.mark.parametrize("where", ["budget", "machine"])
def test_what_can_not_fit_is_one_sentence_before_anything(long_clips, tmp_path, monkeypatch, where):
    more = [f"data.source={long_clips}", "data.max_seconds=0"]
    more.append(f"training.memory_gb={0.01 if where == 'budget' else 0}")
    monkeypatch.setattr(step_memory, "memory_of", lambda device: 10_000_000)
    with pytest.raises(ConfigError) as caught:
        train(small_config(long_clips, tmp_path, *more), tmp_path / "run", console=quiet())
    clips, limit = (1, "training.memory_gb is 0.01") if where == "budget" else (8, "0.01 GB")
    assert f"for {clips} clip(s) of 60 s" in str(caught.value) and limit in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_evaluation_takes_fewer_clips_at_a_time_where_they_are_long(tones, monkeypatch):
    model = load_model(tones.run)
    chosen = choose_clips(tones.run, model.config, None, "all")
    whole = evaluate(model, chosen.clips, chosen.cache)
    sizes = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda w, n: (sizes.append(w.shape), forward(w, n))[1], raising=False
    )
    monkeypatch.setattr(importlib.import_module(choose_clips.__module__), "MEMORY_GB", 0.001)
    cut = evaluate(model, chosen.clips, chosen.cache)
    assert np.array_equal(whole.confusion, cut.confusion)
    assert sum(clips for clips, _ in sizes) == len(chosen.clips)
    most = samples_within(0.001, lambda samples: inference_bytes(model.config, samples))
    assert all(clips == 1 or clips * samples <= most for clips, samples in sizes)
    assert max(clips for clips, _ in sizes) > 1


def test_augmentation_says_how_long_clips_may_get():
    config = load_config(None, ["augmentation.speed=[0.8, 1.2]"])
    assert config.augmentation.lengths([80, 100]) == [100, 125]
    config = load_config(None, ["augmentation.mixup_alpha=0.2"])
    assert config.augmentation.lengths([80, 100]) == [100, 100]
    assert load_config(None).augmentation.lengths([80, 100]) == [80, 100]


def test_memory_of_this_machine_is_known():
    there = memory_of(torch.device("cpu"))
    assert there is None or there > 10**8
