"""dilated_conv1d: a dilated convolution that keeps the length, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.ops._check import (
    check_channels,
    check_convolution,
    check_shape,
    check_tensors,
    refuse_forward_mode,
)
from wavenet_kernels.ops._register import empty_gradients, register, wanted
from wavenet_kernels.rows import empty_rows


def dilated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: str = "causal",
) -> Tensor:
    """A dilated convolution over time whose output is as long as its input.

    ``y[t] = bias + sum_k weight[:, :, k] @ x[t - (K-1-k) dilation]`` with zeros before the start
    (van den Oord et al. 2016, arXiv 1609.03499, section 2.1); "same" shifts y by half a halo.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        weight: (C, R, K), laid out as ``torch.nn.Conv1d``'s.
        bias: (C,) or None.
        dilation: steps between taps, from 1; it may exceed T.
        padding: "causal" (y[t] sees x[<=t]) or "same" (symmetric, K odd).

    Returns:
        (B, C, T) in the dtype of `x` and in the memory order of (B, T, C) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    refuse_forward_mode("dilated_conv1d", x, weight, bias)
    op: Tensor = torch.ops.wavenet_kernels.dilated_conv1d(
        x, weight, bias, dilation, padding, backends.current_backend()
    )
    return op


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, padding: str) -> None:
    op = "dilated_conv1d"
    check_tensors(op, x=x, weight=weight, bias=bias)
    check_shape(op, "x", x, "(B, R, T)", None, None, None)
    check_shape(op, "weight", weight, "(C, R, K)", None, x.shape[1], None)
    check_shape(op, "bias", bias, "(C,)", weight.shape[0])
    check_channels(op, R=x.shape[1], C=weight.shape[0])
    check_convolution(op, weight.shape[2], (dilation,), padding)


def _outputs(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return empty_rows(x, x.shape[0], weight.shape[0], x.shape[2])


def _outputs_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    padding: str,
    output_mask: list[bool],
) -> tuple[Tensor, ...]:
    return empty_gradients(output_mask, (x, weight, bias), activations=(0,))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.dilation, ctx.padding, ctx.backend = inputs
    backends.require(ctx.backend, "dilated_conv1d_backward")
    ctx.save_for_backward(x, weight, bias)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    mask = ctx.needs_input_grad[:3]
    gradients = torch.ops.wavenet_kernels.dilated_conv1d_backward(
        grad, *ctx.saved_tensors, ctx.dilation, ctx.padding, mask, ctx.backend
    )
    return *wanted(gradients, mask), None, None, None


register(
    "dilated_conv1d(Tensor x, Tensor weight, Tensor? bias, int dilation, str padding, "
    "str backend) -> Tensor",
    check=_check,
    outputs=_outputs,
    setup_context=_setup_context,
    backward=_backward,
)
register(
    "dilated_conv1d_backward(Tensor grad, Tensor x, Tensor weight, Tensor? bias, int dilation, "
    "str padding, bool[] output_mask, str backend) -> (Tensor, Tensor, Tensor)",
    outputs=_outputs_backward,
)
