"""Training runs that take seconds: recordings of three pitches and a network of a few weights.

A plugin, so that pytest finds the fixtures: the recordings, a run that learned them, the command
line in this process.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from safetensors.torch import load_file

from wavenet.classifier.run_config import RunConfig, load_config
from wavenet.classifier.run_folder import checkpoints
from wavenet.classifier.training import Result, train
from wavenet.cli import main

RATE = 4000
OVERRIDES = [
    "model.sample_rate=4000",
    "model.stem_stride=4",
    "model.stem_kernel_size=8",
    "model.residual_channels=8",
    "model.dilation_channels=8",
    "model.skip_channels=8",
    "model.layers_per_stack=4",
    "model.stacks=1",
    "model.head_channels=8",
    "model.dropout=0.2",
    "augmentation.gain_db=3",
    "augmentation.shift_ms=5",
    "training.epochs=3",
    "training.batch_size=8",
    "training.learning_rate=1e-2",
    "training.device=cpu",
]

MODEL = {
    "labels": ("cat", "dog", "rain"),
    "sample_rate": 8000,
    "stem_stride": 4,
    "stem_kernel_size": 8,
    "residual_channels": 8,
    "dilation_channels": 8,
    "skip_channels": 12,
    "layers_per_stack": 4,
    "stacks": 2,
    "head_channels": 10,
}


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three classes of tones, easy to tell apart; 12 clips each, of unequal lengths.

    Its all.csv has splits, two folds and three groups.
    """
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    rows = []
    for label, pitch in (("low", 150), ("middle", 500), ("high", 1500)):
        (folder / label).mkdir()
        for i in range(12):
            t = np.arange(int(RATE * random.uniform(0.1, 0.3))) / RATE
            tone = 0.4 * np.sin(2 * math.pi * pitch * random.uniform(0.9, 1.1) * t)
            path = folder / label / f"{i}.wav"
            soundfile.write(path, tone + 0.02 * random.standard_normal(t.size), RATE)
            split = "test" if i < 3 else "train"
            rows.append((path.relative_to(folder), label, split, i % 2, f"person{i % 3}"))
    with open(folder / "all.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "fold", "group"), *rows])
    return folder


def small_config(recordings: Path, tmp_path: Path, *more: str) -> RunConfig:
    """The configuration of such a run; `more` are overrides."""
    source = [f"data.source={recordings / 'all.csv'}", f"data.cache={tmp_path / 'cache'}"]
    return load_config(None, [*OVERRIDES, *source, *more])


def quiet() -> Console:
    """A console that says nothing."""
    return Console(quiet=True)


class Tones(NamedTuple):
    """A run that learned the recordings of `manifest`; `cache` holds them decoded."""

    manifest: Path
    cache: Path
    run: Path
    config: RunConfig
    result: Result


@pytest.fixture(scope="session")
def tones(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Tones:
    """Trained once for all tests that need a model which knows something."""
    folder = tmp_path_factory.mktemp("tones")
    config = small_config(recordings, folder, "training.epochs=25")
    result = train(config, folder / "run", console=quiet())
    return Tones(recordings / "all.csv", folder / "cache", folder / "run", config, result)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def exit_code(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], run: Callable[[], object]
) -> object:
    """What a program of ours ends with, which `run` starts in this process."""
    monkeypatch.setattr(sys, "argv", argv)
    threads = torch.get_num_threads()
    try:
        run()
    except SystemExit as end:
        return end.code or 0
    finally:
        torch.set_num_threads(threads)  # some commands change it
    return 0


@pytest.fixture
def wavenet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """wavenet("predict", run, ...) -> exit code and outputs, without a process of its own."""

    def call(*arguments: object) -> Done:
        code = exit_code(monkeypatch, ["wavenet", *map(str, arguments)], main)
        out, err = capsys.readouterr()
        return Done(int(str(code)), out, " ".join(err.split()))

    return call


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The best model, and all of the newest checkpoint."""
    newest = checkpoints(run)[-1]
    files = {
        "best": run / "model.safetensors",
        "evaluated": newest / "model.safetensors",
        "state": newest / "state.safetensors",
    }
    return {f"{k} {n}": v for k, path in files.items() for n, v in load_file(path).items()}


def same(a: Path, b: Path) -> bool:
    """Two runs ended with the same bits."""
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
