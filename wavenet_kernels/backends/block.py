"""A residual block as a stack of one layer, for backends whose kernels are those of the stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def block_of(
    residual_stack: Callable[..., tuple[Tensor, ...]],
) -> Callable[..., tuple[Tensor, ...]]:
    """The backend's `residual_block`, made of its `residual_stack`."""

    def residual_block(
        x: Tensor,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        out_weight: Tensor,
        out_bias: Tensor | None,
        cond: Tensor | None,
        dilation: int,
        padding: str,
        residual_scale: float,
    ) -> tuple[Tensor, ...]:
        weights = (conv_weight, conv_bias, out_weight, out_bias)
        residual, skip, _ = residual_stack(
            x,
            *map(_of_one_layer, weights),
            cond,
            [dilation],
            padding,
            residual_scale,
            last_residual=True,
            checkpoint_every=1,
            save=False,
        )
        return residual, skip

    return residual_block


def block_backward_of(
    residual_stack_backward: Callable[..., tuple[Tensor, ...]],
) -> Callable[..., tuple[Tensor, ...]]:
    """The backend's `residual_block_backward`, made of its `residual_stack_backward`."""

    def residual_block_backward(
        grad_residual: Tensor,
        grad_skip: Tensor,
        x: Tensor,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        out_weight: Tensor,
        out_bias: Tensor | None,
        cond: Tensor | None,
        dilation: int,
        padding: str,
        residual_scale: float,
        output_mask: Sequence[bool],
    ) -> tuple[Tensor, ...]:
        weights = (conv_weight, conv_bias, out_weight, out_bias)
        grad_x, *of_weights, grad_cond = residual_stack_backward(
            grad_residual,
            grad_skip,
            x,
            x.new_empty(0),
            *map(_of_one_layer, weights),
            cond,
            [dilation],
            padding,
            residual_scale,
            last_residual=True,
            checkpoint_every=1,
            output_mask=output_mask,
        )
        return (grad_x, *(g.squeeze(0) if g.dim() > 1 else g for g in of_weights), grad_cond)

    return residual_block_backward


def _of_one_layer(weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.unsqueeze(0)
