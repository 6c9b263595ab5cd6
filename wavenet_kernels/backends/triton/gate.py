"""The gated activation in Triton, forward and backward.

                      channels of one batch item
                      <---- D ----><---- D ---->
    program (b, i, j)   [ filter ]    [ gate ]      reads a tile of BLOCK_T x BLOCK_D of each,
    times i*BLOCK_T ..                              and the same of cond where there is one
                           |             |
                           +--> [ z ] <--+          writes one tile of z (backward: of grad_a, two)

The inputs are read in whatever strides they have; the outputs are (B, T, C) rows. It is one pass
over memory, so tiles follow the rows: BLOCK_D covers D up to 128 channels at a time.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from wavenet_kernels.backends.triton.language import sigmoid, tanh
from wavenet_kernels.backends.triton.launcher import current_launcher


@triton.jit
def _tile(T, D, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr):
    # 64 bits: B*T*C may exceed 2^31 elements.
    tiles = tl.cdiv(T, BLOCK_T)
    batch = (tl.program_id(0) // tiles).to(tl.int64)
    t = (tl.program_id(0) % tiles).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)[:, None]
    c = tl.program_id(1).to(tl.int64) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    return batch, t, c, (t < T) & (c < D)


@triton.jit
def _preactivation(
    a_ptr, a_batch, a_channel, a_time, cond_ptr, cond_batch, cond_channel, cond_time,
    batch, t, c, inside, HAS_COND: tl.constexpr,
):  # fmt: skip
    a = tl.load(a_ptr + batch * a_batch + c * a_channel + t * a_time, mask=inside, other=0.0)
    a = a.to(tl.float32)
    if HAS_COND:
        offset = batch * cond_batch + c * cond_channel + t * cond_time
        a += tl.load(cond_ptr + offset, mask=inside, other=0.0).to(tl.float32)
    return a


@triton.jit
def forward_kernel(
    a_ptr, a_batch, a_channel, a_time, cond_ptr, cond_batch, cond_channel, cond_time,
    z_ptr, T, D, HAS_COND: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    batch, t, c, inside = _tile(T, D, BLOCK_T, BLOCK_D)
    filter_ = _preactivation(
        a_ptr, a_batch, a_channel, a_time, cond_ptr, cond_batch, cond_channel, cond_time,
        batch, t, c, inside, HAS_COND,
    )  # fmt: skip
    gate = _preactivation(
        a_ptr, a_batch, a_channel, a_time, cond_ptr, cond_batch, cond_channel, cond_time,
        batch, t, c + D, inside, HAS_COND,
    )  # fmt: skip
    z = tanh(filter_) * sigmoid(gate)
    tl.store(z_ptr + (batch * T + t) * D + c, z.to(z_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    grad_ptr, grad_batch, grad_channel, grad_time,
    a_ptr, a_batch, a_channel, a_time, cond_ptr, cond_batch, cond_channel, cond_time,
    grad_a_ptr, T, D, HAS_COND: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    batch, t, c, inside = _tile(T, D, BLOCK_T, BLOCK_D)
    filter_ = _preactivation(
        a_ptr, a_batch, a_channel, a_time, cond_ptr, cond_batch, cond_channel, cond_time,
        batch, t, c, inside, HAS_COND,
    )  # fmt: skip
    gate = _preactivation(
        a_ptr, a_batch, a_channel, a_time, cond_ptr, cond_batch, cond_channel, cond_time,
        batch, t, c + D, inside, HAS_COND,
    )  # fmt: skip
    offset = batch * grad_batch + c * grad_channel + t * grad_time
    grad = tl.load(grad_ptr + offset, mask=inside, other=0.0).to(tl.float32)
    f = tanh(filter_)
    g = sigmoid(gate)
    row = grad_a_ptr + (batch * T + t) * 2 * D + c
    dtype = grad_a_ptr.dtype.element_ty
    tl.store(row, (grad * g * (1.0 - f * f)).to(dtype), mask=inside)
    tl.store(row + D, (grad * f * g * (1.0 - g)).to(dtype), mask=inside)


def tile_sizes(channels: int) -> tuple[int, int]:
    """BLOCK_T, BLOCK_D: 512 elements a program, whole rows up to 128 channels.

    That is 4 elements a thread; with 8 and more their 64-bit addresses spilled on sm_80.
    """
    block_d = min(triton.next_power_of_2(channels), 128)
    return 512 // block_d, block_d


def forward(a: Tensor, cond: Tensor | None, z: Tensor) -> None:
    """a (B, 2D, T), cond (B, 2D, T or 1) -> z (B, D, T)."""
    batch, channels, time = a.shape
    grid, sizes = _grid_and_sizes(batch, channels // 2, time)
    current_launcher().bind(forward_kernel, grid)(
        a, *_strides(a), *_cond(a, cond), z, time, channels // 2, cond is not None, *sizes
    )


def backward(grad: Tensor, a: Tensor, cond: Tensor | None, grad_a: Tensor) -> None:
    """grad (B, D, T), a (B, 2D, T), cond (B, 2D, T or 1) -> grad_a (B, 2D, T)."""
    batch, channels, time = a.shape
    grid, sizes = _grid_and_sizes(batch, channels // 2, time)
    current_launcher().bind(backward_kernel, grid)(
        grad, *_strides(grad), a, *_strides(a), *_cond(a, cond),
        grad_a, time, channels // 2, cond is not None, *sizes,
    )  # fmt: skip


def _grid_and_sizes(
    batch: int, channels: int, time: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    block_t, block_d = tile_sizes(channels)
    return (batch * triton.cdiv(time, block_t), triton.cdiv(channels, block_d)), (block_t, block_d)


def _strides(tensor: Tensor) -> tuple[int, int, int]:
    """(batch, channel, time)."""
    batch, channel, time = tensor.stride()
    return batch, channel, time


def _cond(a: Tensor, cond: Tensor | None) -> tuple[Tensor, int, int, int]:
    if cond is None:
        return a, 0, 0, 0  # never read
    return cond.expand_as(a), *_strides(cond.expand_as(a))
