"""The memory order that kernels work on: (B, T, C) rows, seen from PyTorch as (B, C, T) tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, overload

from torch import Tensor


class Rows(NamedTuple):
    """What a compiled kernel is told of a tensor, strides in elements; data 0: absent."""

    data: int
    batch_stride: int
    time_stride: int
    channel_stride: int


ABSENT = Rows(0, 0, 0, 1)


def empty_rows(
    like: Tensor,
    batch: int,
    channels: int,
    time: int,
    empty: Callable[..., Tensor] = Tensor.new_empty_strided,
) -> Tensor:
    """An uninitialised (B, C, T) tensor in the memory order of (B, T, C) rows, made by `empty`.

    Its strides say so and it is no view of another: outputs may be written to in place, and
    autograd refuses that for views that an operator returns.
    """
    strides = (time * channels, 1, channels)
    return empty(like, (batch, channels, time), strides)


def is_in_rows(x: Tensor) -> bool:
    """Whether channels are side by side."""
    return x.stride(1) == 1 or x.shape[1] == 1


@overload
def channels_last(x: Tensor) -> Tensor: ...
@overload
def channels_last(x: Tensor | None) -> Tensor | None: ...
def channels_last(x: Tensor | None) -> Tensor | None:
    """(B, C, T) with channel stride 1, whatever its other strides: x itself, or a copy of it."""
    if x is None or is_in_rows(x):
        return x
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def rows_of(x: Tensor | None) -> Rows:
    """A (B, C, T) tensor, for a kernel; a single time serves all times."""
    if x is None or x.numel() == 0:
        return ABSENT
    batch, channel, time = x.stride()
    return Rows(
        x.data_ptr(),
        batch,
        time if x.shape[2] > 1 else 0,
        channel if x.shape[1] > 1 else 1,
    )


def rows_of_saved(saved: Tensor | None) -> tuple[Rows, int]:
    """The first of contiguous (inputs, B, T, R), and elements from one input to the next."""
    if saved is None or saved.numel() == 0:
        return ABSENT, 0
    return rows_of(saved[0].transpose(1, 2)), saved.stride(0)


def address_of(x: Tensor | None) -> int:
    """A contiguous tensor, for a kernel; 0: absent."""
    return 0 if x is None else x.data_ptr()
