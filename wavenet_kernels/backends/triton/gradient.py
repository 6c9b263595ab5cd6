"""The pieces of a backward pass that work for any number of channels.

`gate_gradient_kernel`: the gradient ga of the pre-activations, and z, to memory.

    program (i, j) = BLOCK_T consecutive rows of one clip, gate channels [j BLOCK_D, ...)

      x -> f, g -> tanh, sigmoid (recomputed)      gz = [s gr ; gs] V, or given
      ga = gz * (sigmoid (1 - tanh^2) ; tanh sigmoid (1 - sigmoid))

`weight_gradient_kernel`: the sum over rows of a[t] b[t + shift_k]^T.

    program (m, n k, i) = BLOCK_M channels of a, BLOCK_N of b at tap k, the i-th share of the rows

It keeps its sums in registers and writes them to a slice of its own, and torch adds the slices up:
no atomics, so the same bits every time.
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


@triton.jit
def gate_slopes(f, g, HARDWARE_TANH: tl.constexpr):
    """z, and what a gradient of z is multiplied by to give those of filter and gate."""
    tanh, sigmoid = filter_and_gate(f, g, HARDWARE_TANH)
    z = tanh * sigmoid
    return z, sigmoid * (1.0 - tanh * tanh), z * (1.0 - sigmoid)


@triton.jit(do_not_specialize=["T", "dilation", "left"])
def gate_gradient_kernel(
    x_ptr, x_batch, x_time,
    conv_ptr, conv_bias_ptr,
    cond_ptr, cond_batch, cond_time,
    out_ptr,
    grad_residual_ptr, grad_residual_batch, grad_residual_time,
    grad_skip_ptr, grad_skip_batch, grad_skip_time,
    z_ptr,
    grad_a_ptr, grad_a_batch, grad_a_time,
    T, dilation, left, residual_scale,
    R: tl.constexpr, D: tl.constexpr, S: tl.constexpr, K: tl.constexpr,
    HAS_CONV_BIAS: tl.constexpr, HAS_COND: tl.constexpr,
    GIVEN: tl.constexpr, RESIDUAL: tl.constexpr, SKIP: tl.constexpr, KEEP_Z: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_O: tl.constexpr,
    PRECISION: tl.constexpr, HARDWARE_TANH: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(T, BLOCK_T)
    b = (tl.program_id(0) // tiles).to(tl.int64)  # 64 bits: B*T*C may exceed 2^31 elements
    t = tl.program_id(0) % tiles * BLOCK_T + tl.arange(0, BLOCK_T)
    exists = t < T
    first = tl.program_id(1) * BLOCK_D
    grad_residual_ptr += b * grad_residual_batch
    grad_skip_ptr += b * grad_skip_batch
    if GIVEN:  # the gradient of z is what grad_skip holds
        gz = load_rows(grad_skip_ptr, grad_skip_time, t, exists, first, D, BLOCK_D).to(tl.float32)
    else:
        gz = tl.zeros((BLOCK_T, BLOCK_D), dtype=tl.float32)
        if RESIDUAL:
            for r in range(0, R, BLOCK_O):
                go = load_rows(grad_residual_ptr, grad_residual_time, t, exists, r, R, BLOCK_O)
                v = load_matrix(out_ptr, D, r, first, R, D, BLOCK_O, BLOCK_D)
                gz = dot(go, v, gz, PRECISION)
            gz *= residual_scale
        if SKIP:
            for s in range(0, S, BLOCK_O):
                go = load_rows(grad_skip_ptr, grad_skip_time, t, exists, s, S, BLOCK_O)
                v = load_matrix(out_ptr + R * D, D, s, first, S, D, BLOCK_O, BLOCK_D)
                gz = dot(go, v, gz, PRECISION)
    f, g = preactivation(
        x_ptr + b * x_batch, x_time, x_ptr, conv_ptr, conv_bias_ptr,
        cond_ptr + b * cond_batch, cond_time, t, exists, T, dilation, left, first,
        R, D, K, False, HAS_CONV_BIAS, HAS_COND, BLOCK_T, BLOCK_R, BLOCK_D, PRECISION,
    )  # fmt: skip
    z, slope_f, slope_g = gate_slopes(f, g, HARDWARE_TANH)
    if KEEP_Z:
        store_rows(z_ptr + b * T * D, D, t, exists, first, z, D, BLOCK_D)
    grad_a_ptr += b * grad_a_batch
    store_rows(grad_a_ptr, grad_a_time, t, exists, first, gz * slope_f, D, BLOCK_D)
    store_rows(grad_a_ptr + D, grad_a_time, t, exists, first, gz * slope_g, D, BLOCK_D)


@triton.jit(do_not_specialize=["B", "T", "tiles_each", "dilation", "left"])
def weight_gradient_kernel(
    a_ptr, a_batch, a_time,
    b_ptr, b_batch, b_time,
    sums_ptr, sums_slice, sums_tap,
    B, T, tiles_each, dilation, left, scale,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0) * BLOCK_M
    n = tl.program_id(1) // K * BLOCK_N
    shift = tl.program_id(1) % K * dilation - left
    tiles = tl.cdiv(T, BLOCK_T)
    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    begin = tl.program_id(2) * tiles_each
    for i in range(begin, tl.minimum(begin + tiles_each, B * tiles)):
        clip = (i // tiles).to(tl.int64)
        t = i % tiles * BLOCK_T + tl.arange(0, BLOCK_T)
        exists = t < T
        seen = exists & (t + shift >= 0) & (t + shift < T)
        a = load_rows(a_ptr + clip * a_batch, a_time, t, exists, m, M, BLOCK_M)
        b = load_rows(b_ptr + clip * b_batch, b_time, t + shift, seen, n, N, BLOCK_N)
        sums = dot(tl.trans(a), b, sums, PRECISION)
    r = m + tl.arange(0, BLOCK_M)
    c = n + tl.arange(0, BLOCK_N)
    at = tl.program_id(2).to(tl.int64) * sums_slice + tl.program_id(1) % K * sums_tap
    at = sums_ptr + at + r[:, None] * N + c[None, :]
    tl.store(at, sums * scale, mask=(r < M)[:, None] & (c < N)[None, :])
