"""The Triton kernels' machine code for sm_80 and sm_90 against the float64 reference by the rule.

Triton decides when it is imported whether it compiles or interprets: test_triton_machine_code.py
runs this in a process of its own, with TRITON_INTERPRET=0.
"""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from numerics import check_operator, tf32_conv1d
from operator_cases import CASES, DIFFERENTIABLE, Case, call
from sass_cases import Run, check_stream, find_missed, runs, swap_factors
from triton_machine_code import MachineCodeLauncher

from wavenet_kernels.backends.triton.launcher import use_launcher

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
LOCAL = Case(
    batch=1, residual=20, dilation_channels=12, skip=24, taps=3, padding="same", cond="local",
    time=41, dilations=(1, 4),
)  # fmt: skip
WIDE = Case(
    batch=1, residual=64, dilation_channels=64, skip=128, time=100, dilations=(40,)
)  # fmt: skip
FEW = [
    Run("residual_stack", LOCAL, FP16),
    Run("residual_stack", WIDE, BF16),  # wgmma on sm_90
    Run("residual_stack", Case(time=40, dilations=(8,), cond="global", scale=0.7), FP32),
    Run("gated_conv1d", LOCAL, BF16),
    Run("gated_activation", LOCAL, BF16),
    Run("stream", Case(batch=1, time=45, dilations=(1, 20)), BF16),
]


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def arch(request):
    return request.param


@pytest.mark.parametrize("run", runs(FEW, [*DIFFERENTIABLE, "stream"], [*CASES, WIDE]), ids=str)
def test_machine_code(run, arch):
    launcher = MachineCodeLauncher(arch)
    with use_launcher(launcher):
        if run.operator == "stream":
            check_stream("triton", run.case, run.dtype)
        else:
            check_operator(run.operator, *call(run.operator, run.case, run.dtype), "triton")
    assert launcher.done


@pytest.mark.parametrize("case", [Case(time=40, dilations=(8,)), LOCAL], ids=str)
def test_tf32(case, arch):
    """Where PyTorch may round factors of float32 products to TF32, factors are rounded as well."""
    torch.set_float32_matmul_precision("high")
    try:
        launcher = MachineCodeLauncher(arch)
        with mock.patch.object(torch.nn.functional, "conv1d", tf32_conv1d), use_launcher(launcher):
            check_operator("residual_stack", *call("residual_stack", case, FP32), "triton")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert any(launched.places(r"MMA\.\S*TF32") for launched in launcher.done)


def forward(arch, case, alter=lambda kernel: kernel):
    """A stack whose kernels are altered; returns the first launch."""
    launcher = MachineCodeLauncher(arch, alter=alter)
    with use_launcher(launcher):
        tensors, settings = call("residual_stack", case, BF16)
        check_operator("residual_stack", tensors, settings, "triton", gradients=False)
    return launcher.done[0]


def test_planted_mistakes(arch):
    """A wait that is missing is found, and a barrier unless others stand in for it."""
    whole = forward(arch, WIDE)
    count, missed = find_missed(whole, lambda alter: forward(arch, WIDE, alter))
    assert count >= 4 and 3 * len(missed) <= count, missed
    assert not any("DEPBAR" in text for text in missed), missed
    if arch == 80:  # the factors of wgmma aren't alike
        with pytest.raises(AssertionError, match="error|NaN"):
            forward(arch, WIDE, swap_factors(whole))
