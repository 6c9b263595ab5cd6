"""The residual stack in 8 bits, on every instruction set of this machine.

The rule: against the float64 stack of the weights as they were, its error is that of the same
scheme in plain PyTorch, up to a twentieth (a last bit may round an activation the other way, to
the next of 127 steps); and the two are nearer to each other than a fifth of that error.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wavenet_kernels import reference
from wavenet_kernels.nn import QuantizedStackStream
from wavenet_kernels.numerics import root_mean_square
from wavenet_kernels.quantization import dequantize_weights, quantize_weights, rounded_rows

_cpu = pytest.importorskip("wavenet_kernels._cpu")
ISAS = _cpu.build_info()["usable_isas"]


@pytest.fixture(autouse=True, params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", request.param)
    return request.param


def weights_of(layers: int, R: int, D: int, S: int, K: int, biases: bool) -> list[Tensor | None]:
    torch.manual_seed(layers + R + D + S + K)
    conv = torch.randn(layers, 2 * D, R, K) / (R * K) ** 0.5
    out = torch.randn(layers, R + S, D) / D**0.5
    # Outputs of all sizes: one scale for all would not do.
    conv *= torch.logspace(-2, 0.5, 2 * D)[torch.randperm(2 * D), None, None]
    conv_bias = 0.3 * torch.randn(layers, 2 * D) if biases else None
    out_bias = 0.3 * torch.randn(layers, R + S) if biases else None
    return [conv, conv_bias, out, out_bias]


def in_8_bits(x: Tensor, weights: list[Tensor | None], dilations, scale: float) -> Tensor:
    """The skip sum, in float64."""
    conv, conv_bias, out, out_bias = weights
    conv = dequantize_weights(*quantize_weights(conv, outputs=2)).double()
    out = dequantize_weights(*quantize_weights(out, outputs=2)).double()
    skips = torch.zeros(())
    for layer, dilation in enumerate(dilations):
        z = reference.gated_conv1d(
            rounded_rows(x),
            conv[layer],
            None if conv_bias is None else conv_bias[layer].double(),
            dilation=dilation,
        )
        o = torch.einsum("od,bdt->bot", out[layer], rounded_rows(z))
        o = o if out_bias is None else o + out_bias[layer].double()[:, None]
        residual, skip = o.split([x.shape[1], o.shape[1] - x.shape[1]], dim=1)
        x, skips = scale * (x + residual), skips + skip
    return skips


@pytest.mark.parametrize(
    "R, D, S, K, dilations, T, scale, biases",
    [
        (32, 32, 64, 2, (1, 2, 4, 8), 50, 1.0, True),
        (16, 16, 32, 2, (1, 4), 20, 1.0, False),
        (13, 9, 21, 3, (2, 5, 1), 131, 0.5**0.5, True),
        (64, 64, 128, 2, (1, 16, 256), 300, 1.0, True),
        (1, 1, 1, 1, (1,), 3, 1.0, True),
        (7, 40, 3, 4, (3, 3), 1030, 1.0, False),  # longer than a piece
    ],
)
def test_error_is_that_of_the_scheme(R, D, S, K, dilations, T, scale, biases):
    weights = weights_of(len(dilations), R, D, S, K, biases)
    x = torch.randn(1, R, T) * torch.logspace(-3, 1, T)
    doubles = [None if w is None else w.double() for w in weights]
    _, exact = reference.residual_stack(
        x.double(), *doubles, dilations=dilations, residual_scale=scale
    )
    scheme = in_8_bits(x.double(), weights, dilations, scale)
    got = QuantizedStackStream(*weights, dilations=dilations, residual_scale=scale)(x).double()
    error = root_mean_square(scheme - exact)
    assert root_mean_square(got - exact) <= 1.05 * error + 1e-6 * root_mean_square(exact)
    assert root_mean_square(got - scheme) <= 0.2 * error + 1e-6 * root_mean_square(exact)


def test_any_chunks_give_the_same_bits():
    weights = weights_of(3, 24, 16, 40, 3, True)
    stream = QuantizedStackStream(*weights, dilations=(1, 4, 9))
    x = torch.randn(1, 24, 211)
    whole = stream(x)
    for sizes in ([1] * 211, [100, 111], [3, 7, 50, 2, 149]):
        stream.reset()
        parts = torch.cat([stream(part) for part in x.split(sizes, dim=2)], dim=2)
        assert torch.equal(parts, whole)


def test_sums_of_the_largest_products_do_not_saturate():
    """All weights and inputs as large as 8 bits hold: every pair of bytes has the largest sum."""
    R, D, S = 64, 32, 8
    sign = torch.where(torch.arange(R) % 3 == 0, -1.0, 1.0)
    conv = (0.01 * sign[None, None, :, None]).expand(1, 2 * D, R, 2)
    out = torch.full((1, R + S, D), 0.25)
    x = (sign[:, None] * torch.tensor([1.0, -1.0, 2.0, 1.0])).unsqueeze(0)
    stream = QuantizedStackStream(conv, None, out, None, dilations=(1,))
    expected = reference.residual_stack(
        x.double(), conv.double(), None, out.double(), None, dilations=(1,)
    )[1]
    torch.testing.assert_close(stream(x).double(), expected, rtol=3e-6, atol=3e-6)


def test_silence_and_what_is_not_finite():
    weights = weights_of(2, 8, 8, 8, 2, True)
    stream = QuantizedStackStream(*weights, dilations=(1, 2))
    silence = torch.zeros(1, 8, 5)
    doubles = [w.double() for w in weights]
    _, expected = reference.residual_stack(silence.double(), *doubles, dilations=(1, 2))
    assert root_mean_square(stream(silence) - expected) < 0.03 * root_mean_square(expected)
    for strange in (float("nan"), float("inf")):
        stream.reset()
        x = silence.clone()
        x[0, 3, 2] = strange
        assert stream(x)[0, :, 2].isnan().all()
        assert stream(silence).isnan().any()
        stream.reset()
        assert stream(silence).isfinite().all()


def test_what_does_not_fit_is_refused():
    stream = QuantizedStackStream(*weights_of(1, 8, 8, 8, 2, True), dilations=(1,))
    with pytest.raises(TypeError, match="x is torch.float64"):
        stream(torch.zeros(1, 8, 3, dtype=torch.float64))
    for shape in ((2, 8, 3), (1, 7, 3), (1, 8, 0)):
        with pytest.raises(ValueError, match="accepted is"):
            stream(torch.zeros(shape))


@pytest.mark.parametrize(
    ("position", "change", "dilations"),
    [
        (0, lambda w: w, (1,)),
        (0, lambda w: w, (1, 0)),
        (0, lambda w: w.double(), (1, 2)),
        (1, lambda w: w[:, :-1], (1, 2)),
        (2, lambda w: w[:, :, :-1], (1, 2)),
        (3, lambda w: w[:1], (1, 2)),
    ],
)
def test_weights_that_do_not_fit_are_refused(position, change, dilations):
    weights = weights_of(2, 8, 8, 8, 2, True)
    weights[position] = change(weights[position])
    with pytest.raises((TypeError, ValueError), match=r"accepted|expected|must|has shape|is torch"):
        QuantizedStackStream(*weights, dilations=dilations)


def test_weights_are_rounded_once():
    weight = torch.randn(5, 6, 3)
    weight[2] = 0
    numbers, scales = quantize_weights(weight)
    assert numbers.abs().amax((1, 2)).tolist() == [64, 64, 0, 64, 64]
    rounded = dequantize_weights(numbers, scales)
    assert ((rounded - weight).abs() <= 0.5001 * scales[:, None, None]).all()
    again, same = quantize_weights(rounded)
    assert torch.equal(again, numbers) and torch.equal(same, scales)
