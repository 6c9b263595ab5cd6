"""The C library hears what StreamingClassifier hears: the same decisions at the same times."""

from __future__ import annotations

import ctypes
import json

import numpy as np
import pytest
import torch
from small_classifiers import LABELS, signal, small, write

import wavenet
from benchmarks.compiled.c_library import FLOATS, Error, Listener, Refused
from wavenet import packed
from wavenet.classifier.inference.runtime import runtime_file
from wavenet.classifier.inference.streaming import StreamingClassifier
from wavenet.errors import DataError
from wavenet.packed import numbers

pytestmark = pytest.mark.slow  # the library is compiled first

NORM = {"filter_norm": "batch", "stack_norm": "batch", "filter_channels": 5}


def same(ours, theirs) -> None:
    assert [d[:2] for d in ours] == [(d.start, d.end) for d in theirs]
    for (_, _, logits), decision in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(logits, decision.logits.numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("window, hop", [(0.5, 0.1), (None, 0.3), (0.06, 0.02), (2.0, 0.9)])
@pytest.mark.parametrize(
    "fields",
    [
        {"pooling": "attention", "input": "mu-law"},
        {"pooling": "max", "input": "one-hot", "stem_stride": 1, "stem_kernel_size": 2},
        {"pooling": "mean", "input": "raw", "head_layers": 0, "kernel_size": 3},
        {"pooling": "attention", "clip_norm": True, "head_kernel_size": 5},
        {"pooling": "mean", "stem_stride": 40, "stem_kernel_size": 41, "next_sample_weight": 1.0},
        {"filters": 7, "stem_stride": 5, "stem_kernel_size": 32},
        {"filters": 10, "filter_layers": 1, "stem_stride": 10, "input": "mu-law"},
        {"filters": 13, "filter_layers": 3, "stem_stride": 40, "clip_norm": True},
        {"filters": 13, "filter_layers": 2, "stem_stride": 20, "filter_norm": "batch"},
        {"filters": 9, "filter_layers": 2, "stem_stride": 8, "filter_blocks": 2, **NORM},
    ],
    ids=[
        *("attention", "one-hot", "no-head", "clip-norm", "long-stride"),
        *("filters", "filters-layer", "filters-layers", "filters-norm", "filters-blocks"),
    ],
)
def test_decisions_are_those_of_streaming_classifier(library, tmp_path, fields, window, hop):
    model = small(**fields)
    if fields.get("clip_norm") and window is None:
        with pytest.raises(Refused, match="window_seconds is 0"):
            Listener(library, write(model, tmp_path), window, hop)
        return
    ours = Listener(library, write(model, tmp_path), window, hop)
    theirs = StreamingClassifier(model, window_seconds=window, hop_seconds=hop)
    assert ours.labels == LABELS and ours.sample_rate == model.config.sample_rate
    assert ours.delay_seconds == pytest.approx(theirs.delay_seconds)
    heard = signal(3217)
    for cuts in ([], [1, 2, 3, 700, 701, 1999], [50 * i for i in range(1, 64)]):
        made, expected = [], []
        for chunk in np.split(heard, cuts):
            made += ours.push(chunk)
            expected += theirs.push(torch.from_numpy(chunk))
        same(made, expected)
        same(ours.finish(), theirs.finish())


def test_a_signal_shorter_than_a_frame_or_none(library, tmp_path):
    model = small(pooling="attention")
    ours = Listener(library, write(model, tmp_path), None, 0.5)
    assert ours.finish() == []
    for samples in (1, 3, 4, 19, 21):
        assert ours.push(signal(samples)) == []
        (start, end, logits), *more = ours.finish()
        assert (start, end, more) == (0.0, samples / 1000, [])
        expected = model(torch.from_numpy(signal(samples)).unsqueeze(0))[0]
        np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=2e-5, atol=2e-5)


def test_presets_on_real_sizes(library, tmp_path):
    model = wavenet.create_model("wavenet-tiny", labels=LABELS, sample_rate=16000).eval()
    ours = Listener(library, write(model, tmp_path), 1.0, 0.1)
    theirs = StreamingClassifier(model, window_seconds=1.0, hop_seconds=0.1)
    heard = signal(20000)
    same(ours.push(heard) + ours.finish(), theirs.push(torch.from_numpy(heard)) + theirs.finish())


def test_samples_that_are_not_finite_are_not_heard(library, tmp_path):
    ours = Listener(library, write(small(), tmp_path), 0.5, 0.1)
    undisturbed = Listener(library, write(small(), tmp_path), 0.5, 0.1)
    heard = signal(1000)
    made = ours.push(heard[:333])
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError):
            ours.push(np.float32([0.1, bad]))
    whole = np.append(heard[333:], np.float32([np.nan] * 1000))  # it is not searched to its end
    taken = ours.c.wavenet_classifier_push(ours.made, whole.ctypes.data_as(FLOATS), len(whole))
    assert 0 < taken <= 0.1 * ours.sample_rate
    made += ours.waiting() + ours.push(heard[333 + taken :]) + ours.finish()
    expected = undisturbed.push(heard) + undisturbed.finish()
    assert json.dumps([d[2].tolist() for d in made]) == json.dumps(
        [d[2].tolist() for d in expected]
    )


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
@pytest.mark.parametrize(
    "fields",
    [
        {"pooling": "attention", "input": "mu-law"},
        {"input": "one-hot", "stem_stride": 1, "stem_kernel_size": 2, "kernel_size": 3},
        {"clip_norm": True, "head_kernel_size": 5},
        {"filters": 10, "filter_layers": 1, "stem_stride": 10},
        {"filters": 10, "filter_layers": 2, "stem_stride": 20, "filter_norm": "batch"},
        {"head_layers": 0, "residual_channels": 33, "dilation_channels": 7, "skip_channels": 1},
    ],
    ids=["attention", "one-hot", "clip-norm", "filters", "filters-norm", "odd-sizes"],
)
def test_fewer_bits_are_those_of_streaming_classifier(library, tmp_path, fields, weights):
    """In int8, where a last bit may round an activation the other way: to a part of what int8 is
    off by itself."""
    model, heard = small(**fields), signal(3217)
    made, theirs, exact = [], [], []
    ours = Listener(library, write(model, tmp_path, weights), 0.5, 0.1)
    for listener, decisions in (
        (StreamingClassifier(model, window_seconds=0.5, hop_seconds=0.1, weights=weights), theirs),
        (StreamingClassifier(model, window_seconds=0.5, hop_seconds=0.1), exact),
    ):
        decisions += listener.push(torch.from_numpy(heard)) + listener.finish()
    for chunk in np.split(heard, [1, 2, 3, 700, 701, 1999]):
        made += ours.push(chunk)
    made += ours.finish()
    if weights == "bfloat16":
        return same(made, theirs)
    assert [d[:2] for d in made] == [(d.start, d.end) for d in theirs]
    logits = np.stack([d[2] for d in made])
    expected = torch.stack([d.logits for d in theirs]).numpy()
    error = expected - torch.stack([d.logits for d in exact]).numpy()
    assert 0 < rms(error) < 0.1 * rms(expected)
    assert rms(logits - expected) < 0.2 * rms(error)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def test_files_become_smaller(tmp_path):
    model = wavenet.create_model("wavenet-small", labels=LABELS).eval()
    sizes = {w: write(model, tmp_path, w).stat().st_size for w in ("float32", "bfloat16", "int8")}
    assert sizes["bfloat16"] < 0.52 * sizes["float32"]
    assert sizes["int8"] < 0.29 * sizes["float32"]
    with pytest.raises(DataError, match="weights is 'int4'; accepted are float32, bfloat16, int8"):
        runtime_file(model, "int4")


def test_a_file_has_so_many_arrays_and_no_more(library, tmp_path, monkeypatch):
    """Their names are compared in pairs."""
    path = tmp_path / "model.wavenet"
    most = {f"{i}": numbers(np.float32, i) for i in range(packed.MOST_ARRAYS)}
    path.write_bytes(packed.packed(most))
    with pytest.raises(Refused, match="lacks kind"):  # all of them were read
        Listener(library, path, 1.0, 0.1)
    most["one more"] = numbers(np.float32, 0)
    with pytest.raises(DataError, match="has 1025 arrays; a file holds up to 1024"):
        packed.packed(most)
    monkeypatch.setattr(packed, "MOST_ARRAYS", len(most))
    path.write_bytes(packed.packed(most))
    with pytest.raises(Refused, match="has 1025 arrays; accepted are up to 1024") as refused:
        Listener(library, path, 1.0, 0.1)
    assert refused.value.status == 2


def test_bad_arguments_get_a_sentence(library, tmp_path):
    path = write(small(), tmp_path)
    for window, hop, argument in (
        (-1.0, 0.1, "window_seconds"),
        (1e9, 0.1, "window_seconds"),
        (float("nan"), 0.1, "window_seconds"),
        (1.0, 0.0, "hop_seconds"),
        (1.0, float("inf"), "hop_seconds"),
    ):
        with pytest.raises(Refused, match=argument) as refused:
            Listener(library, path, window, hop)
        assert refused.value.status == 4
    odd = write(small(sample_rate=10**7, stem_stride=1, frame_ms=1e-4), tmp_path)  # of a sample
    with pytest.raises(Refused, match="window_seconds would take more .* up to 1.07") as refused:
        Listener(library, odd, 60.0, 0.1)
    assert refused.value.status == 4
    assert Listener(library, odd, 1e-4, 1e-4).push(signal(3000))
    with pytest.raises(Refused, match="window_seconds would take more than a gigabyte"):
        Listener(library, write(small(clip_norm=True, sample_rate=192000), tmp_path), 86400.0, 0.1)
    with pytest.raises(Refused, match="nowhere can't be read: No such file") as refused:
        Listener(library, tmp_path / "nowhere", 1.0, 0.1)
    assert refused.value.status == 1
    with pytest.raises(Refused, match="can't be read: Is a directory"):
        Listener(library, tmp_path, 1.0, 0.1)
    error = Error()
    assert not library.functions.wavenet_model_open(None, ctypes.byref(error))
    assert error.status == 4
    assert not library.functions.wavenet_model_open(None, None)  # nobody wants to know
