"""Batch normalisation in the filterbank: of clips, not of padding; in training and afterwards."""

from __future__ import annotations

import copy
import itertools
import json
import os
import signal

import pytest
import torch
from forked import run_together
from norms import with_statistics
from small_runs import MODEL, quiet, same, small_config, weights
from torch import nn

import wavenet.classifier.training.learner as learner_
from wavenet import WaveNetClassifier, WaveNetConfig, load_model
from wavenet.classifier.data import Batch
from wavenet.classifier.inference.loading import start_from
from wavenet.classifier.inference.weights import folded
from wavenet.classifier.run_config import TrainingConfig
from wavenet.classifier.training import train
from wavenet.classifier.training.learner import Learner, average_weights
from wavenet.classifier.training.processes import processes
from wavenet.errors import ConfigError, TrainingInterrupted
from wavenet.networks.normalization import (
    MOMENTUM,
    MaskedBatchNorm,
    measure_together,
    nothing_remembered,
)

FIELDS = {"filters": 7, "filter_layers": 2, "filter_norm": "batch"}
OPTIONS = (
    "model.filters=6",
    "model.filter_layers=2",
    "model.filter_norm=batch",
    "model.stem_kernel_size=40",
    "model.stem_stride=16",
)


def _model(**fields: object) -> WaveNetClassifier:
    torch.manual_seed(0)
    config = {**MODEL, "stem_kernel_size": 30, **FIELDS, **fields}
    return WaveNetClassifier(WaveNetConfig(**config))


def _batch(clips: int = 5) -> Batch:
    random = torch.Generator().manual_seed(1)
    lengths = torch.tensor([1203, 500, 37, 1, 1202][:clips])
    waveform = 0.3 * torch.randn(clips, 1203, generator=random)
    for row, length in zip(waveform, lengths, strict=True):
        row[length:] = 0
    return Batch(waveform, lengths, torch.arange(clips) % 3)


def _statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: v.clone() for n, v in model.state_dict().items() if "running" in n}


def _learner(accelerator, model, **settings) -> Learner:
    return Learner(model, TrainingConfig(device="cpu", **settings), accelerator, steps=10)


def _moved(before: dict[str, torch.Tensor], model: nn.Module) -> bool:
    """All of them; none of them is False; some of them is an error."""
    moved = {not before[name].equal(value) for name, value in _statistics(model).items()}
    assert len(moved) == 1
    return moved.pop()


@pytest.mark.parametrize("padded", [False, True])
def test_it_is_batch_norm_over_what_is_inside_the_clips(padded):
    torch.manual_seed(0)
    lengths = torch.tensor([9, 4, 1]) if padded else torch.tensor([9, 9, 9])
    x = torch.randn(3, 4, 5, 9, dtype=torch.float64, requires_grad=True)
    ours, theirs = MaskedBatchNorm(4).double(), nn.BatchNorm2d(4).double()
    for name in ("weight", "bias"):
        value = torch.randn(4, dtype=torch.float64)
        for norm in (ours, theirs):
            getattr(norm, name).data.copy_(value)
    inside = [x[i : i + 1, :, :, :length] for i, length in enumerate(lengths.tolist())]
    for _ in range(2):
        out = ours(x, lengths)
        expected = theirs(torch.cat(inside, 3))
    parts = expected.split(lengths.tolist(), 3)
    got = [out[i : i + 1, :, :, :length] for i, length in enumerate(lengths.tolist())]
    for one, other in zip(got, parts, strict=True):
        torch.testing.assert_close(one, other)
    towards = [torch.randn_like(part) for part in parts]
    given = [*ours.parameters(), x]
    gradients = torch.autograd.grad(got, given, towards)
    for one, other in zip(
        gradients, torch.autograd.grad(parts, [*theirs.parameters(), x], towards), strict=True
    ):
        torch.testing.assert_close(one, other)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.eval()(x, lengths), theirs.eval()(x))


def test_padding_enters_no_statistic():
    """Neither its length nor what it holds: a clip counts as it would alone."""
    batch = _batch()
    plain, longer = _model(), _model()
    noise = torch.randn(5, 900)
    wide = torch.cat([batch.waveform, noise], 1)
    for row, length in zip(wide, batch.lengths, strict=True):
        row[length:] = torch.randn(len(row) - length)
    logits = plain(batch.waveform, batch.lengths)
    torch.testing.assert_close(longer(wide, batch.lengths), logits)
    for name, value in _statistics(plain).items():
        torch.testing.assert_close(longer.state_dict()[name], value, msg=name)
    # Of the first layer, from clips that nothing was padded to.
    stem = _model().stem
    with torch.no_grad():
        heard = [
            stem.layers[0](stem.bands(nn.functional.pad(clip[:n], (stem.before, 0))[None])[None])
            for clip, n in zip(batch.waveform, batch.lengths.tolist(), strict=True)
        ]
    values = torch.cat([one.transpose(0, 1).flatten(1) for one in heard], 1)
    norm = plain.stem.norms[0]
    torch.testing.assert_close(norm.running_mean, MOMENTUM * values.mean(1))
    torch.testing.assert_close(norm.running_var, 1 - MOMENTUM + MOMENTUM * values.var(1))


def test_without_lengths_all_is_the_clip():
    one, other = _model(), _model()
    waveform = 0.3 * torch.randn(2, 700)
    full = torch.tensor([700, 700])
    assert torch.equal(one(waveform), other(waveform, full))
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in _statistics(one).items())


def test_what_is_evaluated_depends_on_no_other_clip():
    model, batch = with_statistics(_model()).eval(), _batch()
    logits = model(batch.waveform, batch.lengths)
    before = _statistics(model)
    for i, length in enumerate(batch.lengths.tolist()):
        alone = model(batch.waveform[i : i + 1, :length])[0]
        torch.testing.assert_close(alone, logits[i])
    assert not _moved(before, model)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"filter_blocks": 2},
        {"stack_norm": "batch", "next_sample_weight": 0.5},
        {"stack_norm": "batch", "filter_norm": "none", "filter_layers": 0},
    ],
)
def test_folded_it_is_the_same_network_without_it(tmp_path, fields):
    model, batch = with_statistics(_model(**fields)).eval(), _batch()
    plain = folded(model)
    assert plain.config.filter_norm == "none" and not _statistics(plain) and _statistics(model)
    assert all(layer.bias is not None for layer in plain.stem.layers) and folded(plain) is plain
    expected = model(batch.waveform, batch.lengths)
    torch.testing.assert_close(plain(batch.waveform, batch.lengths), expected)
    plain.save_pretrained(tmp_path, config=plain.config)
    loaded = load_model(tmp_path)
    assert torch.equal(loaded(batch.waveform), plain(batch.waveform))


def test_it_is_saved_and_loaded(tmp_path):
    model, batch = with_statistics(_model()).eval(), _batch()
    model.save_pretrained(tmp_path)
    assert torch.equal(load_model(tmp_path)(batch.waveform), model(batch.waveform))


def test_a_model_saved_before_there_was_any_is_without_it(tmp_path):
    model = _model(filter_norm="none").eval()
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content.pop("filter_norm") == "none"
    (tmp_path / "config.json").write_text(json.dumps(content))
    waveform = _batch().waveform
    assert torch.equal(load_model(tmp_path)(waveform), model(waveform))


def test_half_precision_does_not_round_the_statistics():
    exact, half = _model(), _model()
    batch = _batch()
    exact(batch.waveform, batch.lengths)
    with torch.autocast("cpu", torch.bfloat16):
        half(batch.waveform, batch.lengths).float().sum().backward()
    for name, value in _statistics(half).items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact.state_dict()[name], rtol=0.01, atol=0.01)


def test_frozen_parts_keep_their_statistics():
    """And are normalised by them: what learns after them sees in training what it sees later."""
    model, batch = with_statistics(_model()), _batch()
    before = _statistics(model)
    evaluated = copy.deepcopy(model).eval()
    with processes("cpu") as accelerator:
        learner = _learner(accelerator, model, rates={"stem": 0.0}, ema_decay=0.5)
        for step in range(2):
            learner.step([batch], 5, step)
    assert not _moved(before, model) and not _moved(before, learner.evaluated)
    model.train()
    heard = (m.stem(batch.waveform, batch.lengths) for m in (model, evaluated))
    torch.testing.assert_close(*heard)
    with processes("cpu") as accelerator:
        learner = _learner(accelerator, with_statistics(_model()), rates={"stem": 0.1})
        learner.step([batch], 5, 0)
    assert _moved(before, learner.model)


def test_a_rehearsal_leaves_no_trace():
    with processes("cpu") as accelerator:
        learner = _learner(accelerator, _model(), ema_decay=0.5)
        before = _statistics(learner.model)
        learner.rehearse(2, 500)
        assert not _moved(before, learner.model)
        learner.step([_batch()], 5, 0)
        assert _moved(before, learner.model)


def test_an_error_does_not_end_remembering():
    model = _model()
    before = _statistics(model)
    with pytest.raises(KeyError), nothing_remembered(model):
        model(_batch().waveform)
        raise KeyError
    assert not _moved(before, model)
    model(_batch().waveform)
    assert _moved(before, model)


def test_scales_do_not_decay():
    start = with_statistics(_model())
    learned = {}
    for decay in (0.0, 0.5):
        with processes("cpu") as accelerator:
            learner = _learner(accelerator, copy.deepcopy(start), weight_decay=decay)
            learner.step([_batch()], 5, 1)
        learned[decay] = dict(learner.model.named_parameters())
    for name in ("stem.norms.0.weight", "stem.norms.1.bias"):
        assert torch.equal(learned[0.0][name], learned[0.5][name])
        assert not torch.equal(learned[0.0][name], dict(start.named_parameters())[name])


def test_statistics_are_averaged_like_the_weights():
    norm = MaskedBatchNorm(2)
    average = average_weights(norm, 0.25)
    expected = 0.0
    for n in range(5):
        for tensor in (norm.weight, norm.running_mean, norm.running_var):
            nn.init.constant_(tensor, n * n)
        average.update_parameters(norm)
        decay = min(0.25, (1 + n) / (10 + n))
        expected = n * n if n == 0 else decay * expected + (1 - decay) * n * n
        for name in ("weight", "running_mean", "running_var"):
            assert getattr(average.module, name).tolist() == pytest.approx([expected] * 2)


def test_parts_of_a_batch_are_normalised_one_by_one():
    batch = _batch(4)
    cut = [Batch(*(t[rows] for t in batch[:3])) for rows in (slice(0, 2), slice(2, 4))]
    with processes("cpu") as accelerator:
        learner = _learner(accelerator, _model(), accumulation=2)
        by_hand = copy.deepcopy(learner.model)
        learner.step(cut, 4, 0)
    for part in cut:
        by_hand(part.waveform, part.lengths)
    for name, value in _statistics(by_hand).items():
        assert torch.equal(learner.model.state_dict()[name], value), name


def test_a_stack_that_is_computed_again_moves_nothing_twice():
    found = []
    for every in (1, 3):
        with processes("cpu") as accelerator:
            learner = _learner(accelerator, _model(checkpoint_every=every))
            learner.step([_batch()], 5, 0)
        found.append(_statistics(learner.model))
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name


def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(
    recordings, tmp_path, monkeypatch
):
    config = small_config(recordings, tmp_path, *OPTIONS, "training.ema_decay=0.9")
    train(config, tmp_path / "whole", console=quiet())
    assert sum("running_var" in name for name in weights(tmp_path / "whole")) == 3 * 2
    original = learner_.Learner.step

    def stepping(self, parts, clips, now):
        if now == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, parts, clips, now)

    with monkeypatch.context() as patch, pytest.raises(TrainingInterrupted):
        patch.setattr(learner_.Learner, "step", stepping)
        train(config, tmp_path / "run", console=quiet())
    train(config, tmp_path / "run", resume=True, console=quiet())
    assert same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 7])
def test_two_processes_have_the_statistics_of_one(recordings, tmp_path, parts):
    """Of seven parts of a batch many shares have no clip at all."""
    more = (
        "data.validation_by_group=false",
        "augmentation.noise_snr_db=[0, 30]",
        "model.dropout=0",
        "training.batch_size=10",
        "training.ema_decay=0.9",
        "training.learning_rate=2e-3",
        f"training.accumulation={parts}",
    )
    config = small_config(recordings, tmp_path, *OPTIONS, *more)
    config.save(tmp_path / "config.yaml")
    train(config, tmp_path / "one", console=quiet())
    command = ("train", "--config", tmp_path / "config.yaml", "--out", tmp_path / "two")
    codes = run_together(*command, output=tmp_path / "said")
    assert codes == [0, 0], (tmp_path / "said" / "0.txt").read_text()
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        if not name.startswith("state optimizer.exp_avg_sq"):
            assert torch.allclose(value, two[name], rtol=1e-3, atol=2e-5), name


@pytest.fixture
def group(tmp_path):
    """This process as one that trains with others, who are not there."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", world_size=1, rank=0
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_a_compiled_model_has_the_same_gradient_and_statistics(group, together):
    """As one graph, but for what processes tell one another."""
    found = []
    for compiled in (False, True):
        model = _model(layers_per_stack=1, stacks=1)
        if together:
            measure_together(model)
        run = model
        if compiled:
            options = {"backend": "aot_eager", "fullgraph": not together, "dynamic": True}
            run = torch.compile(model, **options)
        batch = _batch()
        run(batch.waveform, batch.lengths).square().sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append({**gradients, **_statistics(model)})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_start_without_it_does_not_fit(tmp_path):
    for saved, wanted in itertools.permutations(("none", "batch")):
        with_statistics(_model(filter_norm=saved)).save_pretrained(tmp_path / saved)
        with pytest.raises(ConfigError, match=r"weights don't fit: stem\."):
            start_from(_model(filter_norm=wanted), str(tmp_path / saved))
    started = _model()
    start_from(started, str(tmp_path / "batch"))
    expected = with_statistics(_model())
    assert all(torch.equal(v, started.state_dict()[n]) for n, v in _statistics(expected).items())
