"""gated_activation: tanh(filter) * sigmoid(gate), forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.ops._check import (
    check_channels,
    check_cond,
    check_even,
    check_shape,
    check_tensors,
    refuse_forward_mode,
)
from wavenet_kernels.ops._register import register
from wavenet_kernels.rows import empty_rows


def gated_activation(a: Tensor, cond: Tensor | None = None) -> Tensor:
    """The gated activation unit of WaveNet, ``tanh(a_f + c_f) * sigmoid(a_g + c_g)``.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), equation 2; with `cond`, section 2.5.

    Args:
        a: (B, 2D, T), the filter half first; float32, float64, bfloat16 or float16.
        cond: added to `a`: (B, 2D, T), or (B, 2D, 1) for all times alike.

    Returns:
        (B, D, T) in the dtype of `a` and in the memory order of (B, T, D) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    refuse_forward_mode("gated_activation", a, cond)
    op: Tensor = torch.ops.wavenet_kernels.gated_activation(a, cond, backends.current_backend())
    return op


def _check(a: Tensor, cond: Tensor | None) -> None:
    op = "gated_activation"
    check_tensors(op, a=a, cond=cond)
    check_shape(op, "a", a, "(B, 2D, T)", None, None, None)
    batch, channels, time = a.shape
    check_even(op, "a", channels)
    check_channels(op, D=channels // 2)
    check_cond(op, cond, batch, channels, time)


def _outputs(a: Tensor, cond: Tensor | None) -> Tensor:
    return empty_rows(a, a.shape[0], a.shape[1] // 2, a.shape[2])


def _outputs_backward(grad: Tensor, a: Tensor, cond: Tensor | None) -> Tensor:
    return empty_rows(a, *a.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, cond, ctx.backend = inputs
    backends.require(ctx.backend, "gated_activation_backward")
    ctx.save_for_backward(a, cond)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, cond = ctx.saved_tensors
    grad_a = torch.ops.wavenet_kernels.gated_activation_backward(grad, a, cond, ctx.backend)
    grad_cond = None
    if ctx.needs_input_grad[1]:
        grad_cond = grad_a if cond.shape[2] == a.shape[2] else grad_a.sum(2, keepdim=True)
    return grad_a, grad_cond, None


register(
    "gated_activation(Tensor a, Tensor? cond, str backend) -> Tensor",
    check=_check,
    outputs=_outputs,
    setup_context=_setup_context,
    backward=_backward,
)
register(
    "gated_activation_backward(Tensor grad, Tensor a, Tensor? cond, str backend) -> Tensor",
    outputs=_outputs_backward,
)
