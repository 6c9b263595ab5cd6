"""residual_stack: a whole stack of residual layers in one autograd node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.ops._check import check_convolution, check_stack, refuse_forward_mode
from wavenet_kernels.ops._register import empty_gradients, register, wanted
from wavenet_kernels.rows import empty_rows


def residual_stack(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilations: Sequence[int],
    padding: str = "causal",
    residual_scale: float = 1.0,
    last_residual: bool = True,
    checkpoint_every: int = 1,
) -> tuple[Tensor, Tensor]:
    """A chain of residual layers (`residual_block`) and the sum of their skips.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), figure 4. The whole stack is one
    autograd node that keeps the input of every `checkpoint_every`-th layer and nothing else.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        conv_weight: (L, 2D, R, K), the filter half first.
        conv_bias: (L, 2D) or None.
        out_weight: (L, R+S, D), both 1x1s of each layer, the residual part first; S may be 0.
        out_bias: (L, R+S) or None.
        cond: added before the gates: (B, L*2D, T), or (B, L*2D, 1) for all times alike;
            layer l owns channels l*2D .. (l+1)*2D.
        dilations: L ints from 1, one for each layer; they may exceed T.
        padding: "causal" (outputs at t see x[<=t]) or "same" (symmetric, K odd).
        residual_scale: 1 as in WaveNet; wavenet_vocoder uses sqrt(0.5).
        last_residual: False for a stack whose residual output nobody needs; it is then not
            computed and comes back empty, (B, 0, T).
        checkpoint_every: keep every n-th layer's input for backward; n > 1 saves memory and costs
            a second forward of the layers between.

    Returns:
        residual (B, R, T) and the skip sum (B, S, T) in the dtype of `x` and in the memory order
        of (B, T, C) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    tensors = (x, conv_weight, conv_bias, out_weight, out_bias, cond)
    refuse_forward_mode("residual_stack", *tensors)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    residual, skip, _saved = torch.ops.wavenet_kernels.residual_stack(
        *tensors,
        list(dilations),
        padding,
        residual_scale,
        last_residual,
        checkpoint_every,
        save,
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
    dilations: list[int],
    padding: str,
    residual_scale: float,
    last_residual: bool,
    checkpoint_every: int,
    save: bool,
) -> None:
    op = "residual_stack"
    check_stack(op, x, conv_weight, conv_bias, out_weight, out_bias, cond, dilations)
    check_convolution(op, conv_weight.shape[3], dilations, padding)
    if checkpoint_every < 1:
        raise ValueError(f"{op}: checkpoint_every is {checkpoint_every}; accepted is 1 or more")


def _outputs(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: list[int],
    padding: str,
    residual_scale: float,
    last_residual: bool,
    checkpoint_every: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, residual, time = x.shape
    kept = len(range(checkpoint_every, len(dilations), checkpoint_every)) if save else 0
    return (
        empty_rows(x, batch, residual if last_residual else 0, time),
        empty_rows(x, batch, out_weight.shape[1] - residual, time),
        x.new_empty(kept, batch, time, residual),
    )


def _outputs_backward(
    grad_residual: Tensor, grad_skip: Tensor, x: Tensor, saved: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    return empty_gradients(rest[-1], (x, *rest[:5]), activations=(0, 5))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *arguments, save, ctx.backend = inputs
    backends.require(ctx.backend, "residual_stack_backward")
    if not save:
        raise ValueError("residual_stack: save is False; a call to be differentiated needs True")
    x, *weights_and_cond = arguments[:6]
    ctx.settings = arguments[6:]
    ctx.mark_non_differentiable(output[2])
    # Else autograd makes zeros as large as `saved` for its gradient, which there is none of.
    ctx.set_materialize_grads(False)
    ctx.shapes = output[0].shape, output[1].shape
    ctx.save_for_backward(x, output[2], *weights_and_cond)


def _backward(
    ctx: Any, grad_residual: Tensor | None, grad_skip: Tensor | None, _grad_saved: None
) -> tuple[Tensor | None, ...]:
    mask = ctx.needs_input_grad[:6]
    tensors = ctx.saved_tensors
    grads = [
        tensors[0].new_zeros(shape) if grad is None else grad
        for grad, shape in zip((grad_residual, grad_skip), ctx.shapes, strict=True)
    ]
    gradients = torch.ops.wavenet_kernels.residual_stack_backward(
        *grads, *tensors, *ctx.settings, mask, ctx.backend
    )
    return *wanted(gradients, mask), *[None] * 7


register(
    "residual_stack(Tensor x, Tensor conv_weight, Tensor? conv_bias, Tensor out_weight, "
    "Tensor? out_bias, Tensor? cond, int[] dilations, str padding, float residual_scale, "
    "bool last_residual, int checkpoint_every, bool save, str backend) "
    "-> (Tensor, Tensor, Tensor)",
    check=_check,
    outputs=_outputs,
    setup_context=_setup_context,
    backward=_backward,
)
register(
    "residual_stack_backward(Tensor grad_residual, Tensor grad_skip, Tensor x, Tensor saved, "
    "Tensor conv_weight, Tensor? conv_bias, Tensor out_weight, Tensor? out_bias, Tensor? cond, "
    "int[] dilations, str padding, float residual_scale, bool last_residual, "
    "int checkpoint_every, bool[] output_mask, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    outputs=_outputs_backward,
)
