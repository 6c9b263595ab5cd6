"""The forward pass of a residual layer, a stream's too, and of a gated convolution: one kernel.

    program = BLOCK_T consecutive rows of one clip

      x  [t - left + k d]   K x (BLOCK_T, R)  --dot W_k-->  f, g  (BLOCK_T, D) each, in registers
                                              --gate---->   z     (BLOCK_T, D)
      z  --dot V, BLOCK_O columns at a time-->  residual = s (x + .), skip (+)= .

It reads x and the skip sum and writes residual and skip sum (a gated convolution: z); weights
stream through, BLOCK_R channels and BLOCK_O columns at a time, and stay in L2. D is whole
in a program: as it grows, BLOCK_T shrinks.
"""

from __future__ import annotations

import triton
import triton.language as tl

from wavenet_kernels.backends.triton.language import (
    channels_there,
    dot,
    filter_and_gate,
    load_matrix,
    load_rows,
    load_vector,
    preactivation,
    store_rows,
)


@triton.jit(do_not_specialize=["T", "dilation", "left"])
def layer_kernel(
    x_ptr, x_batch, x_time,
    past_ptr, past_batch,
    conv_ptr, conv_bias_ptr,
    cond_ptr, cond_batch, cond_time,
    out_ptr, out_bias_ptr,
    z_ptr, residual_ptr, skip_ptr,
    T, dilation, left, residual_scale,
    R: tl.constexpr, D: tl.constexpr, S: tl.constexpr, K: tl.constexpr,
    HAS_PAST: tl.constexpr, HAS_CONV_BIAS: tl.constexpr, HAS_COND: tl.constexpr,
    HAS_OUT_BIAS: tl.constexpr,
    KEEP_Z: tl.constexpr, RESIDUAL: tl.constexpr, SKIP: tl.constexpr,
    ACCUMULATE_SKIP: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_O: tl.constexpr,
    PRECISION: tl.constexpr, HARDWARE_TANH: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(T, BLOCK_T)
    b = (tl.program_id(0) // tiles).to(tl.int64)  # 64 bits: B*T*C may exceed 2^31 elements
    t = tl.program_id(0) % tiles * BLOCK_T + tl.arange(0, BLOCK_T)
    exists = t < T
    x_ptr += b * x_batch
    f, g = preactivation(
        x_ptr, x_time, past_ptr + b * past_batch, conv_ptr, conv_bias_ptr,
        cond_ptr + b * cond_batch, cond_time, t, exists, T, dilation, left, 0,
        R, D, K, HAS_PAST, HAS_CONV_BIAS, HAS_COND, BLOCK_T, BLOCK_R, BLOCK_D, PRECISION,
    )  # fmt: skip
    tanh, sigmoid = filter_and_gate(f, g, HARDWARE_TANH)
    z = channels_there(tanh * sigmoid, 0, D, BLOCK_D).to(x_ptr.dtype.element_ty)
    if KEEP_Z:
        store_rows(z_ptr + b * T * D, D, t, exists, 0, z, D, BLOCK_D)
    if RESIDUAL:
        residual_ptr += b * T * R
        for first in range(0, R, BLOCK_O):
            v = load_matrix(out_ptr, D, first, 0, R, D, BLOCK_O, BLOCK_D)
            o = dot(z, tl.trans(v), tl.zeros((BLOCK_T, BLOCK_O), dtype=tl.float32), PRECISION)
            if HAS_OUT_BIAS:
                o += load_vector(out_bias_ptr, first, R, BLOCK_O)
            o += load_rows(x_ptr, x_time, t, exists, first, R, BLOCK_O).to(tl.float32)
            store_rows(residual_ptr, R, t, exists, first, o * residual_scale, R, BLOCK_O)
    if SKIP:
        skip_ptr += b * T * S
        out_ptr += R * D
        out_bias_ptr += R
        for first in range(0, S, BLOCK_O):
            v = load_matrix(out_ptr, D, first, 0, S, D, BLOCK_O, BLOCK_D)
            o = dot(z, tl.trans(v), tl.zeros((BLOCK_T, BLOCK_O), dtype=tl.float32), PRECISION)
            if HAS_OUT_BIAS:
                o += load_vector(out_bias_ptr, first, S, BLOCK_O)
            if ACCUMULATE_SKIP:
                o += load_rows(skip_ptr, S, t, exists, first, S, BLOCK_O).to(tl.float32)
            store_rows(skip_ptr, S, t, exists, first, o, S, BLOCK_O)
