"""residual_stack_stream: the causal stack over one chunk of a longer signal, for inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.ops._check import (
    check_convolution,
    check_shape,
    check_stack,
    check_tensors,
    refuse_forward_mode,
)
from wavenet_kernels.ops._register import register
from wavenet_kernels.rows import empty_rows


def residual_stack_stream(
    x: Tensor,
    state: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilations: Sequence[int],
    residual_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The causal `residual_stack` fed a signal in chunks of any sizes.

    Feeding the chunks one after another, each with the state that the last one returned, equals
    feeding the whole signal at once. Inference only: differentiating it raises. Every call prepares
    the weights anew; for small chunks `wavenet_kernels.streaming.StackStream` is faster.

    Args:
        x: (B, R, T), the next chunk; float32, float64, bfloat16 or float16.
        state: (B, H, R) with H = sum over layers of (K-1) * dilation: the last inputs of each
            layer, oldest first; zeros at the start of a signal.
        conv_weight, conv_bias, out_weight, out_bias, cond, dilations, residual_scale: as of
            `residual_stack`; cond (B, L*2D, T or 1) belongs to this chunk.

    Returns:
        residual (B, R, T), skip sum (B, S, T), and the state to pass with the next chunk; under
        torch.autocast all three, the state too, are in its dtype.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.
    """
    tensors = (x, state, conv_weight, conv_bias, out_weight, out_bias, cond)
    refuse_forward_mode("residual_stack_stream", *tensors)
    residual, skip, new_state = torch.ops.wavenet_kernels.residual_stack_stream(
        *tensors,
        list(dilations),
        residual_scale,
        backends.current_backend(),
    )
    return residual, skip, new_state


def _check(
    x: Tensor,
    state: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: list[int],
    residual_scale: float,
) -> None:
    op = "residual_stack_stream"
    check_stack(op, x, conv_weight, conv_bias, out_weight, out_bias, cond, dilations)
    check_convolution(op, conv_weight.shape[3], dilations, "causal")
    check_tensors(op, x=x, state=state)
    rows = (conv_weight.shape[3] - 1) * sum(dilations)
    check_shape(op, "state", state, "(B, H, R)", x.shape[0], rows, x.shape[1])


def _outputs(
    x: Tensor,
    state: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, residual, time = x.shape
    skip = empty_rows(x, batch, out_weight.shape[1] - residual, time)
    return empty_rows(x, batch, residual, time), skip, state.new_empty(state.shape)


def _when_empty(x: Tensor, state: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    residual, skip, new_state = _outputs(x, state, *rest)
    return residual, skip, new_state.copy_(state)


register(
    "residual_stack_stream(Tensor x, Tensor state, Tensor conv_weight, Tensor? conv_bias, "
    "Tensor out_weight, Tensor? out_bias, Tensor? cond, int[] dilations, float residual_scale, "
    "str backend) -> (Tensor, Tensor, Tensor)",
    check=_check,
    outputs=_outputs,
    when_empty=_when_empty,
)
