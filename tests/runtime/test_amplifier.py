"""The C library plays what an amplifier in PyTorch makes of a signal."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from numerics import assert_rule
from small_amplifiers import played, small_amplifier
from small_classifiers import small, write

from benchmarks.compiled import c_library
from benchmarks.compiled.c_library import Library, Refused, Stack
from wavenet.networks.amplifier import Amplifier, LayersConfig
from wavenet.networks.runtime import amplifier_file
from wavenet.packed import numbers, packed

pytestmark = pytest.mark.slow  # the library is compiled first

ARRAYS = {
    "both": (),  # as small_amplifier has it
    "usual": (LayersConfig(16), LayersConfig(8)),
    "one channel": (LayersConfig(1, (1, 2, 3)),),
    "odd": (LayersConfig(7, (3, 1), 1), LayersConfig(12, (5, 100)), LayersConfig(9, (4,), 4)),
    "wide": (LayersConfig(33, (1, 400), 2),),
    "gated": (LayersConfig(6, (1, 5, 9), 5, gated=True), LayersConfig(4, (2, 8), gated=True)),
}


@pytest.fixture(params=["", "avx2", "portable"], ids=lambda isa: isa or "best")
def any_library(request, built) -> Library:
    if request.param == "avx2" and platform.machine() != "x86_64":
        pytest.skip("about instructions of x86")
    return Library(built(request.param) / "libwavenet.so")


def noise(count: int) -> np.ndarray:
    return np.float32(np.random.default_rng(0).uniform(-1, 1, count))


def stack_of(library: Library, model: Amplifier, folder: Path) -> Stack:
    (folder / "model.wavenet").write_bytes(amplifier_file(model))
    return Stack(library, folder / "model.wavenet")


def push(stack: Stack, samples: np.ndarray) -> np.ndarray:
    return stack.push(samples[:, None])[:, 0]


@pytest.mark.parametrize("case", ARRAYS)
def test_by_the_rule(any_library, tmp_path, case):
    model, x = small_amplifier(*ARRAYS[case]), noise(1500)
    truth, eager = (torch.from_numpy(played(model, x.astype(t))) for t in (np.float64, np.float32))
    made = torch.from_numpy(push(stack_of(any_library, model, tmp_path), x))
    assert truth.std() > 0.02
    assert_rule(made, truth, eager.double() - truth, case)


@pytest.mark.parametrize("case", ["both", "usual", "odd"])
def test_the_same_bits_however_the_signal_is_cut(any_library, tmp_path, case):
    x = noise(3000)
    stack = stack_of(any_library, small_amplifier(*ARRAYS[case]), tmp_path)
    whole = push(stack, x)
    for sizes in ([1], [64], [16, 1, 47], [63, 65, 300], [7, 0, 1025]):
        stack.reset()
        made, at = [], 0
        while at < len(x):
            for size in sizes:
                made.append(push(stack, x[at : at + size]))
                at += size
        assert np.array_equal(np.concatenate(made), whole), sizes


def test_silence_was_before(library, tmp_path):
    model = small_amplifier()
    stack, x = stack_of(library, model, tmp_path), noise(200)
    silent = push(stack, np.zeros(1000, np.float32))
    assert silent[0] != 0 and np.array_equal(silent, np.full_like(silent, silent[0]))
    made = push(stack, x)
    stack.reset()
    assert np.array_equal(push(stack, x), made)
    model_heard = played(model, np.concatenate([np.zeros(500, np.float32), x]))[500:]
    np.testing.assert_allclose(played(model, x), model_heard, atol=1e-6)


def test_what_it_says_of_itself(library, tmp_path):
    stack = stack_of(library, small_amplifier(), tmp_path)
    assert stack.c.wavenet_model_sample_rate(stack.model) == 8000
    assert stack.c.wavenet_model_classes(stack.model) == 0
    assert (
        stack.c.wavenet_stack_inputs(stack.made) == stack.c.wavenet_stack_outputs(stack.made) == 1
    )
    for kind, arguments in (("classifier", (0.0, 1.0)), ("generator", (0, 1.0))):
        with pytest.raises(Refused, match="model"):
            c_library._Made(library, tmp_path / "model.wavenet", kind, *arguments)
    with pytest.raises(Refused, match="model is no stack"):
        Stack(library, write(small(), tmp_path))


@pytest.mark.parametrize(
    "name, array, says",
    [
        ("arrays", numbers(np.int64, 17), "has no arrays from 1 to 16"),
        ("arrays", numbers(np.int64, 3), r"lacks arrays\.2\.channels"),
        ("sample_rate", numbers(np.float64, 0), "has an impossible sample_rate"),
        ("scale", numbers(np.float64, float("nan")), "has an impossible scale"),
        ("scale", numbers(np.float64, 1e300), "has an impossible scale"),
        ("arrays.0.channels", numbers(np.int64, 6), r"numbers of arrays\.0\.input_weight"),
        ("arrays.1.gated", numbers(np.int64, 2), r"has no arrays\.1\.gated from 0 to 1"),
        ("arrays.0.dilations", numbers(np.int64, 1, 0, 3), "has impossible dilations"),
        ("arrays.1.head_bias", np.zeros(2, np.float32), r"numbers of arrays\.1\.head_bias"),
        ("arrays.0.out_bias", np.zeros(15), r"another type of arrays\.0\.out_bias"),
    ],
)
def test_files_that_contradict_themselves(library, tmp_path, monkeypatch, name, array, says):
    def changed(arrays):
        assert name in arrays
        return packed({**arrays, name: array})

    monkeypatch.setattr("wavenet.networks.runtime.packed", changed)
    with pytest.raises(Refused, match=says):
        stack_of(library, small_amplifier(), tmp_path)
