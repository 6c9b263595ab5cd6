"""The backward pass of a residual layer in one kernel, where R, D and S are small enough for it.

Rows are walked in columns of tiles, from the last tile of a column to its first, because the gradient
of x needs that of the pre-activations, ga, at other rows. With d the dilation:

    d < BLOCK_T    a column is a clip, a tile BLOCK_T consecutive rows; ga is needed d rows further on
    d >= BLOCK_T   a column is BLOCK_T consecutive phases of a clip, a tile one step of them, t = i d + p:
                   ga is needed in the next tiles, at the same place

    program = every n-th segment of a column; for each of its tiles

      x, gr, gs  --recompute, gate, dot V-->  ga (BLOCK_T, 2D)  --> ring: the last tiles of this program
      ga from the ring, shifted  --dot W_k-->  gx               written once
      gW_k += ga^T x_k   gV += [gr ; gs]^T z   gv               in registers, for all its segments
      sum of ga over the segment                                one row for each segment

So ga never goes through device memory: the rings of all programs together stay in L2. A segment
computes (K-1) d rows of ga that belong to its neighbours again, (K-1) BLOCK_T where d is large.

The ring has a slot more than are read, so that one barrier for each tile is enough: a slot is
overwritten two barriers after it was read last.
"""

from __future__ import annotations

import triton
import triton.language as tl

from wavenet_kernels.backends.triton.gradient import gate_slopes
from wavenet_kernels.backends.triton.language import (
    channels_there,
    dot,
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
def _store_tap(
    ptr, k, sums_f, sums_g, R: tl.constexpr, D: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    ptr += k * 2 * D * R
    _store_sums(ptr, sums_f, D, R, BLOCK_D, BLOCK_R)
    _store_sums(ptr + D * R, sums_g, D, R, BLOCK_D, BLOCK_R)


@triton.jit
def _add_tap(
    sums_f, sums_g, ga_f, ga_g, x_ptr, x_time, source, exists, T,
    R: tl.constexpr, BLOCK_R: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    seen = exists & (source >= 0) & (source < T)
    x = load_rows(x_ptr, x_time, source, seen, 0, R, BLOCK_R)
    sums_f = dot(tl.trans(ga_f), x, sums_f, PRECISION)
    sums_g = dot(tl.trans(ga_g), x, sums_g, PRECISION)
    return sums_f, sums_g


@triton.jit(
    do_not_specialize=[
        "T", "dilation", "left", "left_taps", "stride", "shift", "columns", "column_tiles",
        "segments", "segment_tiles", "total", "later", "earlier",
    ]
)  # fmt: skip
def layer_gradient_kernel(
    x_ptr, x_batch, x_time,
    conv_ptr, conv_bias_ptr,
    cond_ptr, cond_batch, cond_time,
    out_ptr,
    grad_residual_ptr, grad_residual_batch, grad_residual_time,
    grad_skip_ptr, grad_skip_batch, grad_skip_time,
    grad_cond_ptr, grad_cond_batch, grad_cond_time,
    grad_x_ptr, ring_ptr,
    conv_sums_ptr, out_sums_ptr, out_bias_sums_ptr, a_sums_ptr,
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

    f0 = tl.zeros((BLOCK_D, BLOCK_R), dtype=tl.float32)
    g0 = tl.zeros((BLOCK_D, BLOCK_R), dtype=tl.float32)
    if K > 1:
        f1 = tl.zeros((BLOCK_D, BLOCK_R), dtype=tl.float32)
        g1 = tl.zeros((BLOCK_D, BLOCK_R), dtype=tl.float32)
    if K > 2:
        f2 = tl.zeros((BLOCK_D, BLOCK_R), dtype=tl.float32)
        g2 = tl.zeros((BLOCK_D, BLOCK_R), dtype=tl.float32)
    if RESIDUAL:
        v_r = tl.zeros((BLOCK_R, BLOCK_D), dtype=tl.float32)
        bias_r = tl.zeros((BLOCK_R,), dtype=tl.float32)
    if SKIP:
        v_s = tl.zeros((BLOCK_S, BLOCK_D), dtype=tl.float32)
        bias_s = tl.zeros((BLOCK_S,), dtype=tl.float32)

    for segment in tl.range(program, total, tl.num_programs(0), num_stages=1):
        column = segment // segments
        b = (column // columns).to(tl.int64)  # 64 bits: B*T*C may exceed 2^31 elements
        phase = column % columns * BLOCK_T + row
        first = segment % segments * segment_tiles
        last = tl.minimum(first + segment_tiles, column_tiles)
        clip_x = x_ptr + b * x_batch
        clip_cond = cond_ptr + b * cond_batch
        clip_residual = grad_residual_ptr + b * grad_residual_batch
        clip_skip = grad_skip_ptr + b * grad_skip_batch
        a_f = tl.zeros((BLOCK_D,), dtype=tl.float32)
        a_g = tl.zeros((BLOCK_D,), dtype=tl.float32)
        for n in tl.range(0, last - first + later + earlier, num_stages=1):
            i = last - 1 + later - n
            t = (i + row * 0).to(tl.int64) * stride + phase
            exists = (phase < stride) & (t >= 0) & (t < T)
            own = exists & _between(i, first, last, row)

            f, g = preactivation(
                clip_x, x_time, clip_x, conv_ptr, conv_bias_ptr, clip_cond, cond_time,
                t, exists, T, dilation, left, 0,
                R, D, K, False, HAS_CONV_BIAS, HAS_COND, BLOCK_T, BLOCK_R, BLOCK_D, PRECISION,
            )  # fmt: skip
            z, slope_f, slope_g = gate_slopes(f, g, HARDWARE_TANH)
            z = tl.where(own[:, None], channels_there(z, 0, D, BLOCK_D), 0.0).to(dtype)
            gz = tl.zeros((BLOCK_T, BLOCK_D), dtype=tl.float32)
            if RESIDUAL:
                go = load_rows(clip_residual, grad_residual_time, t, exists, 0, R, BLOCK_R)
                v = load_matrix(out_ptr, D, 0, 0, R, D, BLOCK_R, BLOCK_D)
                gz = dot(go, v, gz, PRECISION) * residual_scale
                go = tl.where(own[:, None], go, 0.0).to(dtype)
                v_r = dot(tl.trans(go), z, v_r, PRECISION)
                bias_r += tl.sum(go.to(tl.float32), axis=0)
            if SKIP:
                go = load_rows(clip_skip, grad_skip_time, t, exists, 0, S, BLOCK_S)
                v = load_matrix(out_ptr + R * D, D, 0, 0, S, D, BLOCK_S, BLOCK_D)
                gz = dot(go, v, gz, PRECISION)
                go = tl.where(own[:, None], go, 0.0).to(dtype)
                v_s = dot(tl.trans(go), z, v_s, PRECISION)
                bias_s += tl.sum(go.to(tl.float32), axis=0)
            ga_f = tl.where(exists[:, None], channels_there(gz * slope_f, 0, D, BLOCK_D), 0.0)
            ga_g = tl.where(exists[:, None], channels_there(gz * slope_g, 0, D, BLOCK_D), 0.0)

            if GRAD_X:
                slot = ring_ptr + (n % slots) * (BLOCK_T * 2 * D)
                everywhere = row >= 0
                store_rows(slot, 2 * D, row, everywhere, 0, ga_f, D, BLOCK_D)
                store_rows(slot + D, 2 * D, row, everywhere, 0, ga_g, D, BLOCK_D)
            if GRAD_COND:
                clip_grad = grad_cond_ptr + b * grad_cond_batch
                store_rows(clip_grad, grad_cond_time, t, own, 0, ga_f, D, BLOCK_D)
                store_rows(clip_grad + D, grad_cond_time, t, own, 0, ga_g, D, BLOCK_D)

            ga_f = tl.where(own[:, None], ga_f, 0.0)
            ga_g = tl.where(own[:, None], ga_g, 0.0)
            a_f += tl.sum(ga_f, axis=0)
            a_g += tl.sum(ga_g, axis=0)
            ga_f = ga_f.to(dtype)
            ga_g = ga_g.to(dtype)
            source = t - left
            f0, g0 = _add_tap(
                f0, g0, ga_f, ga_g, clip_x, x_time, source, own, T, R, BLOCK_R, PRECISION
            )
            if K > 1:
                source += dilation
                f1, g1 = _add_tap(
                    f1, g1, ga_f, ga_g, clip_x, x_time, source, own, T, R, BLOCK_R, PRECISION
                )
            if K > 2:
                source += dilation
                f2, g2 = _add_tap(
                    f2, g2, ga_f, ga_g, clip_x, x_time, source, own, T, R, BLOCK_R, PRECISION
                )

            if GRAD_X:
                tl.debug_barrier()
                # The tile whose later and earlier rows are all in the ring.
                j = i + earlier
                t = (j + row * 0).to(tl.int64) * stride + phase
                exists = (phase < stride) & (t >= 0) & (t < T) & _between(j, first, last, row)
                gx = tl.zeros((BLOCK_T, BLOCK_R), dtype=tl.float32)
                for k in tl.static_range(K):
                    at = row + (left_taps - k) * shift + earlier * BLOCK_T
                    slot = (n + slots - at // BLOCK_T) % slots * BLOCK_T + at % BLOCK_T
                    w_ptr = conv_ptr + k * (2 * D * R)
                    ga = load_rows(ring_ptr, 2 * D, slot, exists, 0, D, BLOCK_D)
                    w = load_matrix(w_ptr, R, 0, 0, D, R, BLOCK_D, BLOCK_R)
                    gx = dot(ga, w, gx, PRECISION)
                    ga = load_rows(ring_ptr + D, 2 * D, slot, exists, 0, D, BLOCK_D)
                    w = load_matrix(w_ptr + D * R, R, 0, 0, D, R, BLOCK_D, BLOCK_R)
                    gx = dot(ga, w, gx, PRECISION)
                if RESIDUAL:
                    gr = load_rows(clip_residual, grad_residual_time, t, exists, 0, R, BLOCK_R)
                    gx += gr.to(tl.float32) * residual_scale
                store_rows(grad_x_ptr + b * T * R, R, t, exists, 0, gx, R, BLOCK_R)
        sums = a_sums_ptr + segment * (2 * D)
        c = tl.arange(0, BLOCK_D)
        tl.store(sums + c, a_f, mask=c < D)
        tl.store(sums + D + c, a_g, mask=c < D)
        tl.debug_barrier()  # the next segment starts at slot 0 again

    conv_sums_ptr += program.to(tl.int64) * (K * 2 * D * R)
    _store_tap(conv_sums_ptr, 0, f0, g0, R, D, BLOCK_R, BLOCK_D)
    if K > 1:
        _store_tap(conv_sums_ptr, 1, f1, g1, R, D, BLOCK_R, BLOCK_D)
    if K > 2:
        _store_tap(conv_sums_ptr, 2, f2, g2, R, D, BLOCK_R, BLOCK_D)
    out_sums_ptr += program.to(tl.int64) * ((R + S) * D)
    out_bias_sums_ptr += program.to(tl.int64) * (R + S)
    if RESIDUAL:
        _store_sums(out_sums_ptr, v_r * residual_scale, R, D, BLOCK_R, BLOCK_D)
        c = tl.arange(0, BLOCK_R)
        tl.store(out_bias_sums_ptr + c, bias_r * residual_scale, mask=c < R)
    if SKIP:
        _store_sums(out_sums_ptr + R * D, v_s, S, D, BLOCK_S, BLOCK_D)
        c = tl.arange(0, BLOCK_S)
        tl.store(out_bias_sums_ptr + R + c, bias_s, mask=c < S)
