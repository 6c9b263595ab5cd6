"""The CUDA kernels' machine code for sm_80 and sm_90a against the float64 reference by the rule."""

from __future__ import annotations

from unittest import mock

import cuda_machine_code
import pytest
import torch
from cuda_machine_code import machine_code_in_force
from numerics import check_operator, tf32_conv1d
from operator_cases import WALKS, Case, call
from sass_cases import Run, check_stream, runs, swap_factors

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
NARROW = Case(residual=32, dilation_channels=32, skip=64, time=97, dilations=(1, 4))
LOCAL = Case(batch=1, taps=3, padding="same", cond="local", time=41, dilations=(1, 4))
WIDE = Case(batch=1, residual=128, dilation_channels=16, skip=16, time=40, dilations=(4,))
SQUARE = Case(residual=64, dilation_channels=64, skip=128, time=150, dilations=(1, 8), cond="local")
FEW = [
    Run("residual_stack", NARROW, BF16),  # whose backward is one kernel
    Run("residual_stack", SQUARE, BF16),  # whose backward sums weights by wgmma, where there is any
    Run("residual_stack", LOCAL, FP16),
    Run("residual_stack", Case(time=40, dilations=(8, 1), cond="global", scale=0.7), FP32),
    Run("residual_stack", WIDE, BF16),  # whose weights' gradients have a kernel of their own
    Run("gated_conv1d", LOCAL, BF16),
    Run("gated_activation", LOCAL, BF16),
    Run("stream", Case(residual=32, time=50, dilations=(1, 20)), BF16),
    Run("stream", Case(time=50, dilations=(1, 20), cond="local"), FP32),
]
CASES = [
    NARROW,
    LOCAL,
    Case(batch=1, time=1),
    Case(residual=32, dilation_channels=16, skip=0, taps=4, time=70, dilations=(3, 64)),
    Case(batch=3, time=129, dilations=(1, 1024), out_bias=False, cond="global", scale=0.5**0.5),
    Case(residual=64, dilation_channels=64, skip=128, time=260, dilations=(1, 2, 16)),
    Case(residual=64, dilation_channels=64, skip=192, taps=1, time=300, dilations=(2, 5)),
    Case(residual=64, dilation_channels=32, skip=16, taps=4, conv_bias=False, out_bias=False),
    Case(batch=1, residual=128, dilation_channels=128, skip=128, taps=3, time=150, cond="local"),
    Case(batch=1, residual=256, dilation_channels=256, skip=256, taps=3, time=100, dilations=(4,)),
    Case(residual=16, dilation_channels=256, skip=512, taps=1, time=40, dilations=(2**40, 5)),
]
OPERATORS = ["residual_stack", "gated_conv1d", "gated_activation", "stream"]


@pytest.fixture(scope="module", params=["sm_80", "sm_90a"])
def arch(request):
    if reason := cuda_machine_code.obstacle(request.param):
        pytest.skip(reason)
    return request.param


@pytest.fixture(autouse=True)
def _tf32():
    """float32 may use TF32, here and in eager PyTorch, whose error counts."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    with mock.patch.object(torch.nn.functional, "conv1d", tf32_conv1d):
        yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("run", runs(FEW, OPERATORS, CASES), ids=str)
def test_machine_code(run, arch):
    with machine_code_in_force(arch) as done:
        if run.operator == "stream":
            check_stream("cuda", run.case, run.dtype)
        else:
            check_operator(run.operator, *call(run.operator, run.case, run.dtype), "cuda")
    assert done


@pytest.mark.parametrize("case", WALKS, ids=str)
def test_blocks_that_walk_over_tiles(case, arch, monkeypatch):
    monkeypatch.setenv("WAVENET_SIMT_MULTIPROCESSORS", "1")
    tensors, settings = call("residual_stack", case, BF16)
    with machine_code_in_force(arch) as done:
        check_operator("residual_stack", tensors, settings, "cuda")
    assert done


def forward(arch, alter=lambda kernel: kernel):
    """A stack whose layers_kernel is altered; returns that kernel's first launch."""

    def alter_layers(kernel):
        return alter(kernel) if "layers_kernel" in kernel.name else kernel

    tensors, settings = call("residual_stack", NARROW, BF16)
    with machine_code_in_force(arch, alter_layers) as done:
        check_operator("residual_stack", tensors, settings, "cuda", gradients=False)
    return next(launched for launched in done if "layers_kernel" in launched.kernel.name)


def test_swapped_factors_show(arch):
    with pytest.raises(AssertionError, match="error|NaN"):
        forward(arch, swap_factors(forward(arch)))
