"""What kernels that multiply bfloat16 promise, in layers of which whole tiles of AMX, parts of such
and layers narrower than any are made: on every instruction set that multiplies it here.
"""

from __future__ import annotations

import pytest
import torch
from numerics import check_operator
from operator_cases import DIFFERENTIABLE, Case, call, outputs_and_gradients

import wavenet_kernels
import wavenet_kernels._cpu as _cpu
from wavenet_kernels import reference

ISAS = _cpu.build_info()["multiply_bfloat16"]
WIDE = [
    Case(residual=64, dilation_channels=48, skip=80, time=131, dilations=(1, 40), cond="local"),
    Case(residual=47, dilation_channels=33, skip=101, taps=3, time=97, padding="same"),
    Case(residual=32, dilation_channels=96, skip=0, taps=1, time=16, dilations=(1,), cond="global"),
    Case(residual=36, dilation_channels=15, skip=40, taps=4, time=5, dilations=(2,)),
    Case(batch=1, residual=8, dilation_channels=70, skip=8, taps=2, time=400, dilations=(3,)),
    Case(residual=32, dilation_channels=32, skip=32, time=1500, dilations=(700,)),
]


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", request.param)


@pytest.mark.parametrize("case", WIDE, ids=str)
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_wide_layers_obey_the_rule(isa, operator, case):
    tensors, settings = call(operator, case, torch.bfloat16)
    check_operator(operator, tensors, settings, "cpu")


@pytest.mark.parametrize("channels", [256, 1100])
def test_long_sums_are_as_exact_as_eager(isa, channels):
    """Of 1100, three taps are more products than one chain of tiles has."""
    case = Case(batch=1, residual=channels, dilation_channels=16, skip=16, taps=3, time=40)
    for operator in ("dilated_conv1d", "gated_conv1d"):
        tensors, settings = call(operator, case, torch.bfloat16)
        tensors[2] = 5 * tensors[2]
        check_operator(operator, tensors, settings, "cpu")


@pytest.mark.parametrize("case", WIDE, ids=str)
def test_results_do_not_depend_on_threads(isa, case, threads):
    tensors, settings = call("residual_stack", case, torch.bfloat16)
    results = []
    with wavenet_kernels.use_backend("cpu"):
        for count in (1, 2, 3, 7):
            threads(count)
            results.append(outputs_and_gradients(wavenet_kernels.residual_stack, tensors, settings))
    for others in results[1:]:
        assert all(map(torch.equal, others, results[0]))


@pytest.mark.parametrize(("residual", "channels"), [(64, 48), (40, 8), (8, 16)])
@pytest.mark.parametrize("taps", [1, 2, 3])
def test_rows_depend_on_none_after_them_and_streams_are_the_whole(isa, taps, residual, channels):
    case = Case(
        batch=2, residual=residual, dilation_channels=channels, skip=33, taps=taps, time=203,
        dilations=(1, 20),
    )  # fmt: skip
    tensors, settings = call("residual_stack", case, torch.bfloat16)
    x, *weights = tensors
    with wavenet_kernels.use_backend("cpu"):
        whole = wavenet_kernels.residual_stack(*tensors, **settings)
        for time in (1, 5, 16, 31, 97):
            part = wavenet_kernels.residual_stack(x[:, :, :time], *weights, **settings)
            for a, b in zip(part, whole, strict=True):
                assert torch.equal(a, b[:, :, :time])
        del settings["padding"]
        state, pieces = x.new_zeros(2, (taps - 1) * 21, residual), []
        for chunk in x.split([1, 1, 15, 16, 17, 64, 89], dim=2):
            *out, state = wavenet_kernels.residual_stack_stream(chunk, state, *weights, **settings)
            pieces.append(torch.cat(out, dim=1))
    assert torch.equal(torch.cat(pieces, dim=2), torch.cat(whole, dim=1))


@pytest.mark.parametrize("operator", ["dilated_conv1d", "gated_conv1d", "residual_stack"])
@pytest.mark.parametrize("where", ["x", "gradient"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_where_the_reference_has_it(isa, operator, where, value):
    for time, channels in ((0, 32), (33, 37), (129, 5)):
        case = Case(
            batch=2, residual=channels, dilation_channels=34, skip=32, taps=3, time=130,
            dilations=(7,), cond="global",
        )  # fmt: skip
        tensors, settings = call(operator, case, torch.bfloat16)
        if where == "x":
            tensors[0][1, 2, time] = value

        def poison(upstream, time=time):
            if where == "gradient":
                upstream[0][1, 2, time] = value

        public = getattr(wavenet_kernels, operator)
        with wavenet_kernels.use_backend("cpu"):
            ours = outputs_and_gradients(public, tensors, settings, poison)
        doubles = [None if t is None else t.double() for t in tensors]
        truths = outputs_and_gradients(getattr(reference, operator), doubles, settings, poison)
        for got, truth in zip(ours, truths, strict=True):
            assert torch.equal(got.isfinite(), truth.isfinite())


def test_smallest_numbers_are_zeros_or_what_they_are(isa):
    """Products of bfloat16 take subnormal numbers for zeros; their sums stay within the rule."""
    case = Case(batch=1, residual=64, dilation_channels=32, taps=1, time=40)
    tensors, settings = call("dilated_conv1d", case, torch.bfloat16)
    tensors[0][:, ::2] *= 2.0**-128
    with wavenet_kernels.use_backend("cpu"):
        ours = wavenet_kernels.dilated_conv1d(*tensors, **settings)
        tensors[0][:, ::2] = 0
        without = wavenet_kernels.dilated_conv1d(*tensors, **settings)
    torch.testing.assert_close(ours, without, rtol=0, atol=1e-37)
