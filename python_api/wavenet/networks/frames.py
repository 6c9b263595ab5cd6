"""From steps to frames: the mean, over each frame, of what is above zero."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from wavenet.networks.lengths import mask


def frame_means(rows: Tensor, lengths: Tensor, size: int) -> Tensor:
    """The mean of relu(rows) over each frame of `size` steps, of the steps inside the clip.

    A clip's last frame may be a short one; frames beyond it are zeros.

    Shapes: rows (B, T, S), lengths (B,) in steps -> (B, ceil(T / size), S).
    """
    compiling = torch.compiler.is_compiling()
    if compiling:  # one graph for all T
        rows = F.pad(rows, (0, 0, 0, -rows.shape[1] % size))
    frames = -(-rows.shape[1] // size)
    inside = mask(lengths, frames * size).squeeze(1).unflatten(1, (frames, size)).unsqueeze(3)
    # Frames beyond a clip's end divide by 1, not by 0.
    weights = (inside / inside.sum(2, keepdim=True).clamp(min=1)).to(rows.dtype)
    if compiling:
        return (torch.relu(rows.unflatten(1, (-1, size))) * weights).sum(2)
    means: Tensor = FrameSums.apply(rows, weights)
    return means


class FrameSums(torch.autograd.Function):
    """Frames' weighted sums of what is above 0: rows (B, T, S), weights (B, F, n, 1) -> (B, F, S).

    These are the largest tensors after the stack, so that passes over them count. Autograd would
    make three forward, and four backward, which fill new memory; these are two and two.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        sums = rows.new_empty(rows.shape[0], weights.shape[1], rows.shape[2])
        for part, frames in _cut(rows, weights.shape[2]):
            positive = torch.relu(part)
            torch.sum(positive.mul_(weights[:, frames, : part.shape[2]]), 2, out=sums[:, frames])
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows, weights = ctx.saved_tensors
        out = torch.empty_like(rows)
        for part, frames in _cut(out, weights.shape[2]):
            torch.mul(
                gradient[:, frames].unsqueeze(2), weights[:, frames, : part.shape[2]], out=part
            )
        return torch.ops.aten.threshold_backward.grad_input(out, rows, 0, grad_input=out), None


def _cut(rows: Tensor, size: int) -> Iterator[tuple[Tensor, slice]]:
    """The whole frames of (B, T, S), as (B, F, size, S), and a short last one; which they are."""
    whole, short = divmod(rows.shape[1], size)
    if whole:
        yield rows[:, : whole * size].unflatten(1, (whole, size)), slice(whole)
    if short:
        yield rows[:, whole * size :].unsqueeze(1), slice(whole, None)
