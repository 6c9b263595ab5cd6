"""What backward operators make and return, for all backends."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def empty_weights(weights: Sequence[Tensor | None], wanted: Sequence[bool]) -> list[Tensor | None]:
    """Room for the gradients of those that are wanted, contiguous."""
    return [
        None if weight is None or not needed else weight.new_empty(weight.shape)
        for weight, needed in zip(weights, wanted, strict=True)
    ]


def gradients_of(x: Tensor, *gradients: Tensor | None) -> tuple[Tensor, ...]:
    """In the dtype of x; of size (0,) where there is none."""
    return tuple(x.new_empty(0) if g is None else g.to(x.dtype) for g in gradients)
