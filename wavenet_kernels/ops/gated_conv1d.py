"""gated_conv1d: a dilated convolution with the gate applied to it, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.ops._check import (
    check_channels,
    check_cond,
    check_convolution,
    check_even,
    check_shape,
    check_tensors,
    refuse_forward_mode,
)
from wavenet_kernels.ops._register import empty_gradients, register, wanted
from wavenet_kernels.rows import empty_rows


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    cond: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: str = "causal",
) -> Tensor:
    """``gated_activation(dilated_conv1d(x, weight, bias), cond)`` in one operator.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), equations 2 and 3. Kept for backward:
    the inputs; the pre-activation is recomputed.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        weight: (2D, R, K), the filter half first.
        bias: (2D,) or None.
        cond: added before the gate: (B, 2D, T), or (B, 2D, 1) for all times alike.
        dilation: steps between taps, from 1; it may exceed T.
        padding: "causal" (y[t] sees x[<=t]) or "same" (symmetric, K odd).

    Returns:
        (B, D, T) in the dtype of `x` and in the memory order of (B, T, D) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    refuse_forward_mode("gated_conv1d", x, weight, bias, cond)
    op: Tensor = torch.ops.wavenet_kernels.gated_conv1d(
        x, weight, bias, cond, dilation, padding, backends.current_backend()
    )
    return op


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> None:
    op = "gated_conv1d"
    check_tensors(op, x=x, weight=weight, bias=bias, cond=cond)
    check_shape(op, "x", x, "(B, R, T)", None, None, None)
    batch, residual, time = x.shape
    check_shape(op, "weight", weight, "(2D, R, K)", None, residual, None)
    channels = weight.shape[0]
    check_even(op, "weight", channels)
    check_channels(op, R=residual, D=channels // 2)
    check_shape(op, "bias", bias, "(2D,)", channels)
    check_cond(op, cond, batch, channels, time)
    check_convolution(op, weight.shape[2], (dilation,), padding)


def _outputs(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return empty_rows(x, x.shape[0], weight.shape[0] // 2, x.shape[2])


def _outputs_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    output_mask: list[bool],
) -> tuple[Tensor, ...]:
    return empty_gradients(output_mask, (x, weight, bias, cond), activations=(0, 3))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, cond, ctx.dilation, ctx.padding, ctx.backend = inputs
    backends.require(ctx.backend, "gated_conv1d_backward")
    ctx.save_for_backward(x, weight, bias, cond)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    mask = ctx.needs_input_grad[:4]
    gradients = torch.ops.wavenet_kernels.gated_conv1d_backward(
        grad, *ctx.saved_tensors, ctx.dilation, ctx.padding, mask, ctx.backend
    )
    return *wanted(gradients, mask), None, None, None


register(
    "gated_conv1d(Tensor x, Tensor weight, Tensor? bias, Tensor? cond, int dilation, "
    "str padding, str backend) -> Tensor",
    check=_check,
    outputs=_outputs,
    setup_context=_setup_context,
    backward=_backward,
)
register(
    "gated_conv1d_backward(Tensor grad, Tensor x, Tensor weight, Tensor? bias, Tensor? cond, "
    "int dilation, str padding, bool[] output_mask, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    outputs=_outputs_backward,
)
