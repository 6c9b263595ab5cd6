"""The sums of what `layer_gradient_kernel` has left, all in one launch, in a fixed order.

conv, out    each of its programs' sums        (programs, elements)  -> (elements,)
tiles        sums of each tile's rows          (B, tiles, 2D + R)    -> (B, 2D + R)

program = BLOCK columns of one of them, of tiles those of a clip
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _sum_rows(ptr, rows, stride, column, mask, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    sums = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    row = tl.arange(0, ROWS)
    for first in range(0, rows, ROWS):
        r = (first + row).to(tl.int64)
        there = (r < rows)[:, None] & mask[None, :]
        sums += tl.load(ptr + r[:, None] * stride + column[None, :], mask=there, other=0.0)
    return tl.sum(sums, axis=0)


@triton.jit(do_not_specialize=["programs", "tiles"])
def sum_partials_kernel(
    conv_ptr, out_ptr, tiles_ptr,
    conv_sums_ptr, out_sums_ptr, tile_sums_ptr,
    programs, tiles, residual_scale,
    CONV: tl.constexpr, OUT: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    conv_blocks: tl.constexpr = (CONV + BLOCK - 1) // BLOCK
    out_blocks: tl.constexpr = (OUT + BLOCK - 1) // BLOCK
    tile_blocks: tl.constexpr = (COLUMNS + BLOCK - 1) // BLOCK
    program = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    if program < conv_blocks:
        c = program * BLOCK + lane
        sums = _sum_rows(conv_ptr, programs, CONV, c, c < CONV, BLOCK, ROWS)
        tl.store(conv_sums_ptr + c, sums, mask=c < CONV)
    elif program < conv_blocks + out_blocks:
        c = (program - conv_blocks) * BLOCK + lane
        sums = _sum_rows(out_ptr, programs, OUT, c, c < OUT, BLOCK, ROWS)
        tl.store(out_sums_ptr + c, sums, mask=c < OUT)
    else:
        n = program - conv_blocks - out_blocks
        clip = (n // tile_blocks).to(tl.int64)
        c = n % tile_blocks * BLOCK + lane
        of_clip = tiles_ptr + clip * tiles * COLUMNS
        sums = _sum_rows(of_clip, tiles, COLUMNS, c, c < COLUMNS, BLOCK, ROWS)
        sums = tl.where(c < 2 * D, sums, sums * residual_scale)
        # Filter and gate channels alternate; the filter's come first in what is returned.
        to = tl.where(c < 2 * D, c % 2 * D + c // 2, c)
        tl.store(tile_sums_ptr + clip * COLUMNS + to, sums, mask=c < COLUMNS)
