"""Calls like one before: the same bits, and whatever could change them is heard."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from operator_cases import DIFFERENTIABLE, LAYOUTS, Case, call, strided

import wavenet_kernels
from wavenet_kernels import backends, calibration
from wavenet_kernels.backends import cpu
from wavenet_kernels.ops import _again

CASES = [
    Case(residual=5, dilation_channels=7, skip=3, taps=3, time=97, cond="local"),
    Case(residual=16, dilation_channels=16, skip=0, taps=2, time=40, cond="global", scale=0.5),
    Case(batch=1, residual=1, dilation_channels=1, skip=2, taps=1, time=1, conv_bias=False),
    Case(time=3, dilations=(8, 1, 2), out_bias=False),
]


@pytest.fixture(autouse=True)
def _first_calls(monkeypatch):
    monkeypatch.setattr(_again, "_repeats", {})


def _computed(operator, tensors, settings, wanted=None):
    """Outputs and gradients."""
    leaves = [
        None if t is None else t.detach().requires_grad_(wanted is None or i in wanted)
        for i, t in enumerate(tensors)
    ]
    outputs = getattr(wavenet_kernels, operator)(*leaves, **settings)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    asked = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    grads = [torch.ones_like(output) for output in outputs]
    return [*outputs, *torch.autograd.grad(outputs, asked, grads)]


def _lying_like(tensor, values):
    return values.new_empty_strided(tensor.shape, tensor.stride()).copy_(values)


def _layouts(found):
    return [(t.shape, t.stride(), t.dtype) for t in found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_the_second_call_gives_the_same_bits_of_other_tensors(operator, case, layout, dtype):
    tensors, settings = call(operator, case, dtype)
    tensors = [strided(t, layout) if t is not None and t.dim() == 3 else t for t in tensors]
    others = [None if t is None else _lying_like(t, (3 * t).sin()) for t in tensors]
    expected = _computed(operator, others, settings)  # of a first call
    _again._repeats.clear()
    first = _computed(operator, tensors, settings)
    known = len(_again._repeats)
    assert known == 2  # forward and backward
    second = _computed(operator, others, settings)
    third = _computed(operator, tensors, settings)
    assert len(_again._repeats) == known
    assert _layouts(second) == _layouts(expected) == _layouts(first)
    assert all(map(torch.equal, second, expected))
    assert all(map(torch.equal, third, first))


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_weights_in_other_memory_are_other_calls(operator):
    """Weights that aren't contiguous, after such that are, and some gradients alone."""
    tensors, settings = call(operator, CASES[0], torch.float32)
    expected = _computed(operator, tensors, settings)
    gaps = [
        None if t is None else torch.stack((t, t.new_full(t.shape, float("nan"))), -1)[..., 0]
        for t in tensors
    ]
    for _ in range(2):
        assert all(map(torch.equal, _computed(operator, gaps, settings), expected))
    outputs = len(expected) - sum(t is not None for t in tensors)
    present = [i for i, t in enumerate(tensors) if t is not None]
    for _ in range(2):
        for position, index in enumerate(present):
            found = _computed(operator, tensors, settings, wanted=(index,))
            assert torch.equal(found[-1], expected[outputs + position])


def test_every_setting_and_layout_is_a_call_of_its_own():
    tensors, settings = call("residual_stack", replace(CASES[0], residual=7), torch.float32)
    plain = wavenet_kernels.residual_stack(*tensors, **settings)
    changes = [
        {"padding": "same"},
        {"dilations": (1, 2, 5)},
        {"residual_scale": 0.25},
        {"last_residual": False},
    ]
    for change in changes:
        changed = {**settings, **change}
        found = wavenet_kernels.residual_stack(*tensors, **changed)
        with wavenet_kernels.use_backend("reference"):
            expected = wavenet_kernels.residual_stack(*tensors, **changed)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert torch.equal(wavenet_kernels.residual_stack(*tensors, **settings)[1], plain[1])


def test_a_call_that_does_not_fit_is_refused_after_one_that_did():
    x, weight = torch.randn(1, 4, 9), torch.randn(6, 4, 2)
    wavenet_kernels.gated_conv1d(x, weight)
    wavenet_kernels.gated_conv1d(x, weight)
    with pytest.raises(ValueError, match="weight has shape"):
        wavenet_kernels.gated_conv1d(x, torch.randn(6, 5, 2))
    with pytest.raises(TypeError, match=r"weight is torch.float64 but x is torch.float32"):
        wavenet_kernels.gated_conv1d(x, weight.double())
    with pytest.raises(ValueError, match="dilation is 0"):
        wavenet_kernels.gated_conv1d(x, weight, dilation=0)


def test_variables_and_backends_are_heard_at_the_next_call(monkeypatch):
    x, weight = torch.randn(1, 16, 300), torch.randn(32, 16, 3)
    seen = []
    monkeypatch.setattr(
        cpu,
        "_make_execution",
        lambda *how, make=cpu._make_execution: seen.append(how) or make(*how),
    )

    def how():
        seen.clear()
        wavenet_kernels.gated_conv1d(x, weight)
        return seen[-1] if seen else None

    isa, threads, dtype, fast = how()
    assert how() == (isa, threads, dtype, fast) and fast == "1"
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", "portable")
    assert how()[0] == "portable"
    monkeypatch.setenv("WAVENET_KERNELS_CPU_FAST", "0")
    assert how()[3] == "0"
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", "mmx")
    with pytest.raises(ValueError, match="WAVENET_KERNELS_CPU_ISA"):
        how()
    monkeypatch.delenv("WAVENET_KERNELS_CPU_ISA")
    monkeypatch.delenv("WAVENET_KERNELS_CPU_FAST")
    assert how() == (isa, threads, dtype, fast)
    with wavenet_kernels.use_backend("reference"):
        assert how() is None
    with wavenet_kernels.use_backend("cpu"), cpu.configured({"fast": "0"}):
        assert how()[3] == "0"
    assert how()[3] == "1"


def test_the_number_of_threads_is_heard_at_the_next_call(threads, monkeypatch):
    x, seen = torch.randn(1, 16, 20), []
    monkeypatch.setattr(
        cpu,
        "_make_execution",
        lambda *how, make=cpu._make_execution: seen.append(how) or make(*how),
    )
    for number in (1, 2, 1):
        threads(number)
        for _ in range(2):
            wavenet_kernels.gated_activation(x)
            assert seen[-1][1] == number


def test_decisions_are_heard_at_the_next_call(monkeypatch):
    """Whatever was chosen for good before, by a rule or a measurement."""
    x, chosen = torch.randn(1, 16, 20), []
    real = backends.choose
    monkeypatch.setattr(
        backends, "choose", lambda call, name: chosen.append(call.operator) or real(call, name)
    )
    for _ in range(3):
        wavenet_kernels.gated_activation(x)
    assert chosen == ["gated_activation"]
    calibration.freeze([])
    wavenet_kernels.gated_activation(x)
    assert len(chosen) == 2
    calibration.freeze(None)
    wavenet_kernels.gated_activation(x)
    assert len(chosen) == 3
    with calibration.choice.recording() as calls:
        wavenet_kernels.gated_activation(x)
        wavenet_kernels.gated_activation(x)
    assert [call.operator for call, _ in calls] == ["gated_activation"]
    wavenet_kernels.gated_activation(x)
    assert len(chosen) == 4


def test_watchers_see_every_call():
    x, seen = torch.randn(1, 16, 20), []
    wavenet_kernels.gated_activation(x)
    watch = lambda call, direction: seen.append(direction) or nullcontext()  # noqa: E731
    backends.watchers.append(watch)
    try:
        wavenet_kernels.gated_activation(x)
        wavenet_kernels.gated_activation(x)
    finally:
        backends.watchers.remove(watch)
    assert seen == ["forward", "forward"]


def test_nothing_of_a_call_is_held():
    x, weight = torch.randn(1, 4, 9), torch.randn(6, 4, 2)
    held = [weakref.ref(t) for t in (x, weight, wavenet_kernels.gated_conv1d(x, weight))]
    del x, weight
    gc.collect()
    assert [ref() for ref in held] == [None] * 3


def test_shapes_without_end_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(_again, "MOST", 8)
    for time in range(1, 30):
        wavenet_kernels.gated_activation(torch.randn(1, 2, time))
    assert 0 < len(_again._repeats) <= 8


def test_zeros_have_the_sign_of_their_scale():
    case = Case(residual=4, dilation_channels=4, skip=4, time=5)
    tensors, settings = call("residual_block", case, torch.float32)
    for scale in (0.0, -0.0, 0.0):
        residual, _ = wavenet_kernels.residual_block(
            *tensors, **{**settings, "residual_scale": scale}
        )
        with wavenet_kernels.use_backend("reference"):
            expected, _ = wavenet_kernels.residual_block(
                *tensors, **{**settings, "residual_scale": scale}
            )
        assert torch.equal(residual.signbit(), expected.signbit())


CHILD = """
import os, torch, wavenet_kernels as wk
torch.set_num_threads(2)
x, w = torch.randn(2, 64, 4096), torch.randn(64, 128, 2).transpose(0, 1)
before = [wk.gated_conv1d(x, w) for _ in range(2)]
if (child := os.fork()) == 0:
    here = [wk.gated_conv1d(x, w) for _ in range(2)]
    torch.set_num_threads(1)  # for what is torch's own
    os._exit(0 if all(map(torch.equal, here, before)) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_forked_child_computes_what_its_parent_had_prepared():
    subprocess.run([sys.executable, "-c", CHILD], check=True, timeout=120)
