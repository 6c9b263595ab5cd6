"""What the kernels share: loading rows, the gate, products. Symbols as in csrc/layer.h.

A tile is a (rows, channels) block. Channels that fill up a block, and rows that don't exist, are
zeros; a product of such a zero with an infinite weight is the NaN that explicit padding gives.
"""

from __future__ import annotations

import triton
import triton.language as tl

from wavenet_kernels.backends.triton.launcher import interpreted

_INTERPRETED = tl.constexpr(interpreted())


@triton.jit
def round_to_tf32(x):
    # Tensor cores ignore the bits that TF32 doesn't have: without this, every factor would be too
    # small, and sums off by three times what PyTorch's are.
    bits = tl.inline_asm_elementwise(
        "cvt.rna.tf32.f32 $0, $1;", "=r,f", [x], dtype=tl.int32, is_pure=True, pack=1
    )
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def dot(a, b, sums, PRECISION: tl.constexpr):
    """sums + a b, in float32."""
    if PRECISION == "tf32":
        a = round_to_tf32(a)
        b = round_to_tf32(b)
    if _INTERPRETED:  # which multiplies the bits of bfloat16; products of 16-bit numbers are exact
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, sums, input_precision=PRECISION)


@triton.jit
def tanh(x):
    # Cephes' tanhf: the odd polynomial keeps the relative error near zero, where
    # 1 - 2 / (exp(2x) + 1) cancels. Within 2 ulp of float32; NaN stays NaN.
    square = x * x
    poly = -5.70498872745e-3
    poly = poly * square + 2.06390887954e-2
    poly = poly * square - 5.37397155531e-2
    poly = poly * square + 1.33314422036e-1
    poly = poly * square - 3.33332819422e-1
    magnitude = tl.abs(x)
    large = 1.0 - 2.0 / (tl.exp(2.0 * magnitude) + 1.0)
    large = tl.where(x < 0.0, -large, large)
    return tl.where(magnitude < 0.625, x + x * square * poly, large)


@triton.jit
def hardware_tanh(x):
    # Relative error 2^-11 (PTX ISA, tanh.approx.f32): a quarter of bfloat16's unit round-off.
    if _INTERPRETED:  # as wrong as it may be: rounded to 10 bits behind the first
        bits = tanh(x).to(tl.int32, bitcast=True)
        return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    else:
        return tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def filter_and_gate(f, g, HARDWARE_TANH: tl.constexpr):
    """tanh(f), sigmoid(g)."""
    if HARDWARE_TANH:
        return hardware_tanh(f), sigmoid(g)
    else:
        return tanh(f), sigmoid(g)


@triton.jit
def load_rows(
    ptr, time_stride, t, exists, first, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Channels [first, first + BLOCK) of rows t: (rows, BLOCK)."""
    c = first + tl.arange(0, BLOCK)
    mask = exists[:, None]
    if CHANNELS % BLOCK != 0:
        mask = mask & (c < CHANNELS)[None, :]
    return tl.load(ptr + t.to(tl.int64)[:, None] * time_stride + c[None, :], mask=mask, other=0.0)


@triton.jit
def store_rows(
    ptr, time_stride, t, exists, first, tile, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    c = first + tl.arange(0, BLOCK)
    mask = exists[:, None]
    if CHANNELS % BLOCK != 0:
        mask = mask & (c < CHANNELS)[None, :]
    tl.store(
        ptr + t.to(tl.int64)[:, None] * time_stride + c[None, :],
        tile.to(ptr.dtype.element_ty),
        mask=mask,
    )


@triton.jit
def load_matrix(
    ptr, stride, first_row, first_column, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    """A block of a weight (ROWS, COLUMNS) with rows `stride` apart."""
    r = first_row + tl.arange(0, BLOCK_ROWS)
    c = first_column + tl.arange(0, BLOCK_COLUMNS)
    at = ptr + r[:, None] * stride + c[None, :]
    if ROWS % BLOCK_ROWS == 0 and COLUMNS % BLOCK_COLUMNS == 0:
        return tl.load(at)
    else:
        return tl.load(at, mask=(r < ROWS)[:, None] & (c < COLUMNS)[None, :], other=0.0)


@triton.jit
def load_vector(ptr, first, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """(1, BLOCK) of a bias, in float32."""
    c = first + tl.arange(0, BLOCK)
    if SIZE % BLOCK == 0:
        return tl.load(ptr + c).to(tl.float32)[None, :]
    else:
        return tl.load(ptr + c, mask=c < SIZE, other=0.0).to(tl.float32)[None, :]


@triton.jit
def preactivation(
    x_ptr, x_time, past_ptr, conv_ptr, conv_bias_ptr, cond_ptr, cond_time,
    t, exists, T, dilation, left, first,
    R: tl.constexpr, D: tl.constexpr, K: tl.constexpr,
    HAS_PAST: tl.constexpr, HAS_CONV_BIAS: tl.constexpr, HAS_COND: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Filter and gate channels [first, first + BLOCK_D) of the convolution, bias and conditioning.

    x_ptr, past_ptr and cond_ptr are those of the clip; past holds the `left` rows before row 0. The
    weight is packed with filter and gate channels alternating, (K, D x 2, R): they are one product,
    of which every thread then holds both halves of a channel.
    """
    a = tl.zeros((BLOCK_T, 2 * BLOCK_D), dtype=tl.float32)
    R_BLOCKS: tl.constexpr = (R + BLOCK_R - 1) // BLOCK_R
    for i in range(K * R_BLOCKS):
        k = i // R_BLOCKS
        r = i % R_BLOCKS * BLOCK_R
        source = t - left + k * dilation
        seen = exists & (source >= 0) & (source < T)
        x = load_rows(x_ptr, x_time, source, seen, r, R, BLOCK_R)
        if HAS_PAST:
            before = exists & (source < 0)
            x = x + load_rows(past_ptr, R, source + left, before, r, R, BLOCK_R)
        w_ptr = conv_ptr + k * (2 * D * R)
        w = load_matrix(w_ptr, R, 2 * first, r, 2 * D, R, 2 * BLOCK_D, BLOCK_R)
        a = dot(x, tl.trans(w), a, PRECISION)
    f, g = tl.split(tl.reshape(a, (BLOCK_T, BLOCK_D, 2)))
    if HAS_CONV_BIAS:
        f += load_vector(conv_bias_ptr, first, D, BLOCK_D)
        g += load_vector(conv_bias_ptr + D, first, D, BLOCK_D)
    if HAS_COND:
        f += load_rows(cond_ptr, cond_time, t, exists, first, D, BLOCK_D).to(tl.float32)
        g += load_rows(cond_ptr + D, cond_time, t, exists, first, D, BLOCK_D).to(tl.float32)
    return f, g


@triton.jit
def channels_there(tile, first, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """The tile with zeros in the channels that only fill up the block: there infinite inputs
    have made NaN.
    """
    if CHANNELS % BLOCK == 0:
        return tile
    else:
        c = first + tl.arange(0, BLOCK)
        return tl.where((c < CHANNELS)[None, :], tile, 0.0)
