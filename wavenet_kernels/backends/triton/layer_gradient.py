"""The backward pass of a residual layer in one kernel, where R, D and S are small enough for it.

Rows are walked in columns of tiles, from the last tile of a column to its first, because the
gradient of x needs that of the pre-activations, ga, at other rows. With d the dilation:

    d < BLOCK_T    a column is a clip, a tile BLOCK_T consecutive rows;
                   ga is needed d rows further on
    d >= BLOCK_T   a column is BLOCK_T consecutive phases of a clip, a tile one step of them,
                   t = i d + p; ga is needed in the next tiles, at the same place

    program = every n-th segment (a few tiles of a column); for each of its tiles

      x, gr, gs  --recompute, gate, dot V-->  ga (BLOCK_T, 2D)  --> ring: this program's last tiles
      ga from the ring, shifted  --dot W_k-->  gx               written once
      gW_k += ga^T x_k   gV += [gr ; gs]^T z                    in registers, for all its segments
      sums of ga and gr over the tile's rows                    written, a row for each tile

So ga never goes through device memory: the rings of all programs together stay in L2. A segment
computes the tiles of its neighbours again that it needs ga of, (K-1) of them at most.
Rows of x, gr and gs have no gaps between them, so that they share addresses; and loops hoist
nothing (disable_licm): the addresses of all products together are more than there are registers.

The ring has a slot more than are read, so that one barrier for each tile is enough: a slot is
overwritten two barriers after it was read last.
"""

from __future__ import annotations

import triton
import triton.language as tl

from wavenet_kernels.backends.triton.language import (
    dot,
    filter_and_gate,
    load_matrix,
    load_rows,
    preactivation,
    store_rows,
)

MOST_TAPS = 3  # as many sums are kept apart below


@triton.jit
def _between(i, first, last, row):
    """first <= i < last, for each row: a scalar condition would not stay one of a single bit."""
    i += row * 0
    return (i >= first) & (i < last)


@triton.jit
def _store_sums(
    ptr, sums, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    r = tl.arange(0, BLOCK_ROWS)
    c = tl.arange(0, BLOCK_COLUMNS)
    mask = (r < ROWS)[:, None] & (c < COLUMNS)[None, :]
    tl.store(ptr + r[:, None] * COLUMNS + c[None, :], sums, mask=mask)


@triton.jit
def _add_tap(
    sums, ga, x_ptr, source, exists, T,
    R: tl.constexpr, BLOCK_R: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    seen = exists & (source >= 0) & (source < T)
    x = load_rows(x_ptr, R, source, seen, 0, R, BLOCK_R)
    return dot(tl.trans(ga), x, sums, PRECISION)


@triton.jit(
    do_not_specialize=[
        "T", "dilation", "left", "left_taps", "stride", "shift", "columns", "column_tiles",
        "segments", "segment_tiles", "total", "later", "earlier",
    ]
)  # fmt: skip
def layer_gradient_kernel(
    x_ptr, conv_ptr, conv_bias_ptr,
    cond_ptr, cond_batch, cond_time,
    out_ptr, grad_residual_ptr, grad_skip_ptr,
    grad_cond_ptr, grad_cond_batch, grad_cond_time,
    grad_x_ptr, ring_ptr,
    conv_sums_ptr, out_sums_ptr, tile_sums_ptr,
    T, dilation, left, left_taps, residual_scale,
    stride, shift, columns, column_tiles, segments, segment_tiles, total, later, earlier,
    R: tl.constexpr, D: tl.constexpr, S: tl.constexpr, K: tl.constexpr,
    HAS_CONV_BIAS: tl.constexpr, HAS_COND: tl.constexpr,
    RESIDUAL: tl.constexpr, SKIP: tl.constexpr, GRAD_X: tl.constexpr, GRAD_COND: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_S: tl.constexpr,
    PRECISION: tl.constexpr, HARDWARE_TANH: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    dtype: tl.constexpr = x_ptr.dtype.element_ty
    row = tl.arange(0, BLOCK_T)
    slots = later + earlier + 2
    ring_ptr += program.to(tl.int64) * slots * (BLOCK_T * 2 * D)

    w0 = tl.zeros((2 * BLOCK_D, BLOCK_R), dtype=tl.float32)
    if K > 1:
        w1 = tl.zeros((2 * BLOCK_D, BLOCK_R), dtype=tl.float32)
    if K > 2:
        w2 = tl.zeros((2 * BLOCK_D, BLOCK_R), dtype=tl.float32)
    if RESIDUAL:
        v_r = tl.zeros((BLOCK_R, BLOCK_D), dtype=tl.float32)
    if SKIP:
        v_s = tl.zeros((BLOCK_S, BLOCK_D), dtype=tl.float32)

    for segment in tl.range(program, total, tl.num_programs(0), num_stages=1, disable_licm=True):
        column = segment // segments
        b = (column // columns).to(tl.int64)  # 64 bits: B*T*C may exceed 2^31 elements
        phase = column % columns * BLOCK_T + row
        first = segment % segments * segment_tiles
        last = tl.minimum(first + segment_tiles, column_tiles)
        clip_x = x_ptr + b * T * R
        clip_cond = cond_ptr + b * cond_batch
        clip_residual = grad_residual_ptr + b * T * R
        clip_skip = grad_skip_ptr + b * T * S
        for n in tl.range(0, last - first + later + earlier, num_stages=1, disable_licm=True):
            i = last - 1 + later - n
            t = i * stride + phase
            exists = (phase < stride) & (t >= 0) & (t < T)

            f, g = preactivation(
                clip_x, R, clip_x, conv_ptr, conv_bias_ptr, clip_cond, cond_time,
                t, exists, T, dilation, left, 0,
                R, D, K, False, HAS_CONV_BIAS, HAS_COND, BLOCK_T, BLOCK_R, BLOCK_D, PRECISION,
            )  # fmt: skip
            tanh, sigmoid = filter_and_gate(f, g, HARDWARE_TANH)
            z = tanh * sigmoid
            gz = tl.zeros((BLOCK_T, BLOCK_D), dtype=tl.float32)
            if RESIDUAL:
                gr = load_rows(clip_residual, R, t, exists, 0, R, BLOCK_R)
                out_r = load_matrix(out_ptr, D, 0, 0, R, D, BLOCK_R, BLOCK_D)
                gz = dot(gr, out_r, gz, PRECISION) * residual_scale
            if SKIP:
                gs = load_rows(clip_skip, S, t, exists, 0, S, BLOCK_S)
                out_s = load_matrix(out_ptr + R * D, D, 0, 0, S, D, BLOCK_S, BLOCK_D)
                gz = dot(gs, out_s, gz, PRECISION)
            # Infinite weights or inputs make NaN of rows and channels that aren't there.
            there = exists[:, None] & (tl.arange(0, BLOCK_D) < D)[None, :]
            ga_f = tl.where(there, gz * (sigmoid * (1.0 - tanh * tanh)), 0.0).to(dtype)
            ga_g = tl.where(there, gz * (z * (1.0 - sigmoid)), 0.0).to(dtype)
            z = tl.where(there, z, 0.0).to(dtype)

            ga = tl.reshape(tl.join(ga_f, ga_g), (BLOCK_T, 2 * BLOCK_D))

            if GRAD_X:
                slot = ring_ptr + (n % slots) * (BLOCK_T * 2 * D)
                store_rows(slot, 2 * D, row, row >= 0, 0, ga, 2 * D, 2 * BLOCK_D)
            if (i >= first) & (i < last):
                if GRAD_COND:
                    clip_grad = grad_cond_ptr + b * grad_cond_batch
                    store_rows(clip_grad, grad_cond_time, t, exists, 0, ga_f, D, BLOCK_D)
                    store_rows(clip_grad + D, grad_cond_time, t, exists, 0, ga_g, D, BLOCK_D)
                # Kept in registers over many tiles, these sums would take 32 of a thread's.
                tile = (b * columns + column % columns) * column_tiles + i  # 64 bits, as b is
                c = tl.arange(0, 2 * BLOCK_D)
                sums = tl.sum(ga.to(tl.float32), axis=0)
                to = tile_sums_ptr + tile * (2 * D + R if RESIDUAL else 2 * D)
                tl.store(to + c, sums, mask=c < 2 * D)
                source = t - left
                w0 = _add_tap(w0, ga, clip_x, source, exists, T, R, BLOCK_R, PRECISION)
                if K > 1:
                    source += dilation
                    w1 = _add_tap(w1, ga, clip_x, source, exists, T, R, BLOCK_R, PRECISION)
                if K > 2:
                    source += dilation
                    w2 = _add_tap(w2, ga, clip_x, source, exists, T, R, BLOCK_R, PRECISION)
                # Read again, from L1: kept from above they would take registers all the while.
                if RESIDUAL:
                    gr = load_rows(clip_residual, R, t, exists, 0, R, BLOCK_R)
                    c = tl.arange(0, BLOCK_R)
                    tl.store(to + 2 * D + c, tl.sum(gr.to(tl.float32), axis=0), mask=c < R)
                    v_r = dot(tl.trans(gr), z, v_r, PRECISION)
                if SKIP:
                    gs = load_rows(clip_skip, S, t, exists, 0, S, BLOCK_S)
                    v_s = dot(tl.trans(gs), z, v_s, PRECISION)

            if GRAD_X:
                tl.debug_barrier()
                # The tile whose later and earlier rows are all in the ring.
                j = i + earlier
                t = j * stride + phase
                exists = (phase < stride) & (t >= 0) & (t < T) & _between(j, first, last, row)
                gx = tl.zeros((BLOCK_T, BLOCK_R), dtype=tl.float32)
                for k in tl.range(K, num_stages=1, disable_licm=True):
                    ahead = row + (left_taps - k) * shift + earlier * BLOCK_T
                    held = (n + slots - ahead // BLOCK_T) % slots * BLOCK_T + ahead % BLOCK_T
                    w_ptr = conv_ptr + k * (2 * D * R)
                    kept = load_rows(ring_ptr, 2 * D, held, exists, 0, 2 * D, 2 * BLOCK_D)
                    w = load_matrix(w_ptr, R, 0, 0, 2 * D, R, 2 * BLOCK_D, BLOCK_R)
                    gx = dot(kept, w, gx, PRECISION)
                if RESIDUAL:
                    gr = load_rows(clip_residual, R, t, exists, 0, R, BLOCK_R)
                    gx += gr.to(tl.float32) * residual_scale
                store_rows(grad_x_ptr + b * T * R, R, t, exists, 0, gx, R, BLOCK_R)
        tl.debug_barrier()  # the next segment starts at slot 0 again

    conv_sums_ptr += program.to(tl.int64) * (K * 2 * D * R)
    _store_sums(conv_sums_ptr, w0, 2 * D, R, 2 * BLOCK_D, BLOCK_R)
    if K > 1:
        _store_sums(conv_sums_ptr + 2 * D * R, w1, 2 * D, R, 2 * BLOCK_D, BLOCK_R)
    if K > 2:
        _store_sums(conv_sums_ptr + 4 * D * R, w2, 2 * D, R, 2 * BLOCK_D, BLOCK_R)
    out_sums_ptr += program.to(tl.int64) * ((R + S) * D)
    if RESIDUAL:
        _store_sums(out_sums_ptr, v_r * residual_scale, R, D, BLOCK_R, BLOCK_D)
    if SKIP:
        _store_sums(out_sums_ptr + R * D, v_s, S, D, BLOCK_S, BLOCK_D)
