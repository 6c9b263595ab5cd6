"""A dilated convolution without a gate: `dilated_conv1d`, or the gradient of a convolution's x.

    program (i, j) = BLOCK_T consecutive rows of one clip, columns [j BLOCK_C, ...)

      x [t - left + k d]  K x (BLOCK_T, R)  --dot W_k-->  y (BLOCK_T, BLOCK_C)  + bias, + s add[t]

The gradient of the input is a convolution too: of the gradient of a, with the taps in reverse and
each of them transposed (design in csrc/cpu/backward.h, pass 2).
"""

from __future__ import annotations

import triton
import triton.language as tl

from wavenet_kernels.backends.triton.language import (
    dot,
    load_matrix,
    load_rows,
    load_vector,
    store_rows,
)


@triton.jit(do_not_specialize=["T", "dilation", "left"])
def convolution_kernel(
    x_ptr, x_batch, x_time,
    weight_ptr, bias_ptr,
    add_ptr, add_batch, add_time, add_scale,
    y_ptr,
    T, dilation, left,
    R: tl.constexpr, C: tl.constexpr, K: tl.constexpr,
    TRANSPOSED: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_ADD: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(T, BLOCK_T)
    b = (tl.program_id(0) // tiles).to(tl.int64)  # 64 bits: B*T*C may exceed 2^31 elements
    t = tl.program_id(0) % tiles * BLOCK_T + tl.arange(0, BLOCK_T)
    exists = t < T
    first = tl.program_id(1) * BLOCK_C
    x_ptr += b * x_batch
    y = tl.zeros((BLOCK_T, BLOCK_C), dtype=tl.float32)
    R_BLOCKS: tl.constexpr = (R + BLOCK_R - 1) // BLOCK_R
    for i in range(K * R_BLOCKS):
        k = i // R_BLOCKS
        r = i % R_BLOCKS * BLOCK_R
        source = t - left + k * dilation
        seen = exists & (source >= 0) & (source < T)
        x = load_rows(x_ptr, x_time, source, seen, r, R, BLOCK_R)
        if TRANSPOSED:  # the weight is (K, R, C), its taps in reverse
            w_ptr = weight_ptr + (K - 1 - k) * (R * C)
            w = load_matrix(w_ptr, C, r, first, R, C, BLOCK_R, BLOCK_C)
        else:  # (K, C, R)
            w_ptr = weight_ptr + k * (C * R)
            w = tl.trans(load_matrix(w_ptr, R, first, r, C, R, BLOCK_C, BLOCK_R))
        y = dot(x, w, y, PRECISION)
    if HAS_BIAS:
        y += load_vector(bias_ptr, first, C, BLOCK_C)
    if HAS_ADD:
        add = load_rows(add_ptr + b * add_batch, add_time, t, exists, first, C, BLOCK_C)
        y += add.to(tl.float32) * add_scale
    store_rows(y_ptr + b * T * C, C, t, exists, first, y, C, BLOCK_C)
