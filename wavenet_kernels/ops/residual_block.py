"""residual_block: one WaveNet layer, forward and backward."""

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
    check_residual_and_skip,
    check_shape,
    check_tensors,
    refuse_forward_mode,
)
from wavenet_kernels.ops._register import empty_gradients, register, wanted
from wavenet_kernels.rows import empty_rows


def residual_block(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: str = "causal",
    residual_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """One residual layer of WaveNet: dilated convolution, gate, 1x1s to residual and skip.

    ``z = gated_conv1d(x)``, ``residual = residual_scale * (x + V_r z + v_r)``,
    ``skip = V_s z + v_s`` (van den Oord et al. 2016, arXiv 1609.03499, section 2.4).
    Kept for backward: the inputs; everything between is recomputed.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        conv_weight: (2D, R, K), the filter half first.
        conv_bias: (2D,) or None.
        out_weight: (R+S, D), both 1x1s, the residual part first; S may be 0.
        out_bias: (R+S,) or None.
        cond: added before the gate: (B, 2D, T), or (B, 2D, 1) for all times alike.
        dilation: steps between taps, from 1; it may exceed T.
        padding: "causal" (outputs at t see x[<=t]) or "same" (symmetric, K odd).
        residual_scale: 1 as in WaveNet; wavenet_vocoder uses sqrt(0.5).

    Returns:
        residual (B, R, T) and skip (B, S, T) in the dtype of `x` and in the memory order of
        (B, T, C) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    tensors = (x, conv_weight, conv_bias, out_weight, out_bias, cond)
    refuse_forward_mode("residual_block", *tensors)
    residual, skip = torch.ops.wavenet_kernels.residual_block(
        *tensors,
        dilation,
        padding,
        residual_scale,
        backends.current_backend(),
    )
    return residual, skip


def _check(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    residual_scale: float,
) -> None:
    op = "residual_block"
    check_tensors(
        op,
        x=x,
        conv_weight=conv_weight,
        conv_bias=conv_bias,
        out_weight=out_weight,
        out_bias=out_bias,
        cond=cond,
    )
    check_shape(op, "x", x, "(B, R, T)", None, None, None)
    batch, residual, time = x.shape
    check_shape(op, "conv_weight", conv_weight, "(2D, R, K)", None, residual, None)
    channels = conv_weight.shape[0]
    check_even(op, "conv_weight", channels)
    check_channels(op, R=residual, D=channels // 2)
    check_shape(op, "conv_bias", conv_bias, "(2D,)", channels)
    check_shape(op, "out_weight", out_weight, "(R+S, D)", None, channels // 2)
    check_residual_and_skip(op, out_weight.shape[0], residual)
    check_shape(op, "out_bias", out_bias, "(R+S,)", out_weight.shape[0])
    check_cond(op, cond, batch, channels, time)
    check_convolution(op, conv_weight.shape[2], (dilation,), padding)


def _outputs(
    x: Tensor, conv_weight: Tensor, conv_bias: Tensor | None, out_weight: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    batch, residual, time = x.shape
    skip = empty_rows(x, batch, out_weight.shape[0] - residual, time)
    return empty_rows(x, batch, residual, time), skip


def _outputs_backward(
    grad_residual: Tensor, grad_skip: Tensor, *arguments: Any
) -> tuple[Tensor, ...]:
    *tensors, _dilation, _padding, _residual_scale, output_mask = arguments
    return empty_gradients(output_mask, tensors, activations=(0, 5))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.dilation, ctx.padding, ctx.residual_scale, ctx.backend = inputs
    backends.require(ctx.backend, "residual_block_backward")
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_residual: Tensor, grad_skip: Tensor) -> tuple[Tensor | None, ...]:
    mask = ctx.needs_input_grad[:6]
    gradients = torch.ops.wavenet_kernels.residual_block_backward(
        grad_residual,
        grad_skip,
        *ctx.saved_tensors,
        ctx.dilation,
        ctx.padding,
        ctx.residual_scale,
        mask,
        ctx.backend,
    )
    return *wanted(gradients, mask), None, None, None, None


register(
    "residual_block(Tensor x, Tensor conv_weight, Tensor? conv_bias, Tensor out_weight, "
    "Tensor? out_bias, Tensor? cond, int dilation, str padding, float residual_scale, "
    "str backend) -> (Tensor, Tensor)",
    check=_check,
    outputs=_outputs,
    setup_context=_setup_context,
    backward=_backward,
)
register(
    "residual_block_backward(Tensor grad_residual, Tensor grad_skip, Tensor x, "
    "Tensor conv_weight, Tensor? conv_bias, Tensor out_weight, Tensor? out_bias, Tensor? cond, "
    "int dilation, str padding, float residual_scale, bool[] output_mask, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    outputs=_outputs_backward,
)
