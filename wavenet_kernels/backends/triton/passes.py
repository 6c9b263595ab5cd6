"""A layer's forward and backward pass: the launches of the kernels that make it.

Tensors are (B, C, T) with channel stride 1. Convolutions' weights are packed (K, C, R), so that all
kernels read runs of channels; those of a gate with the channels of filter and gate alternating.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import overload

import torch
import triton
from torch import Tensor

from wavenet_kernels.backends.triton import tuning
from wavenet_kernels.backends.triton.convolution import convolution_kernel
from wavenet_kernels.backends.triton.gradient import gate_gradient_kernel, weight_gradient_kernel
from wavenet_kernels.backends.triton.launcher import current_launcher
from wavenet_kernels.backends.triton.layer_forward import layer_kernel
from wavenet_kernels.backends.triton.layer_gradient import MOST_TAPS, layer_gradient_kernel
from wavenet_kernels.backends.triton.sums import sum_partials_kernel
from wavenet_kernels.rows import empty_rows

SUMS_BLOCK, SUMS_ROWS = 64, 16  # columns of a program of `sum_partials_kernel`, rows at once


@dataclass(frozen=True)
class PackedLayer:
    """One layer's weights (conv packed; out and out_bias absent from a gated convolution), and how
    it is padded and scaled.
    """

    conv: Tensor  # (K, D x 2, R)
    conv_bias: Tensor | None
    out: Tensor | None  # (R+S, D)
    out_bias: Tensor | None
    cond: Tensor | None
    dilation: int
    padding: str
    residual_scale: float = 1.0

    def with_cond(self, cond: Tensor) -> PackedLayer:
        """The same with other conditioning."""
        return replace(self, cond=cond)

    @property
    def sizes(self) -> dict[str, int]:
        """R, D, S and K."""
        taps, channels, residual = self.conv.shape
        skip = 0 if self.out is None else self.out.shape[0] - residual
        return {"R": residual, "D": channels // 2, "S": skip, "K": taps}

    @property
    def left_taps(self) -> int:
        """Taps before the output's own time."""
        return self.conv.shape[0] - 1 if self.padding == "causal" else self.conv.shape[0] // 2

    @property
    def left(self) -> int:
        """Rows of zeros before row 0."""
        return self.left_taps * self.dilation


def pack(weight: Tensor) -> Tensor:
    """(C, R, K) -> (K, C, R), contiguous."""
    return weight.movedim(-1, -3).contiguous()


def unpack(weight: Tensor) -> Tensor:
    """(K, C, R) -> (C, R, K), contiguous."""
    return weight.movedim(-3, -1).contiguous()


def pack_gate(weight: Tensor) -> Tensor:
    """(..., 2D, R, K) -> (..., K, D x 2, R), contiguous."""
    *layers, channels, residual, taps = weight.shape
    halves = weight.reshape(*layers, 2, channels // 2, residual, taps)
    pairs = halves.movedim(-1, -4).transpose(-3, -2)
    return pairs.reshape(*layers, taps, channels, residual).contiguous()


def unpack_gate(weight: Tensor) -> Tensor:
    """(..., K, D x 2, R) -> (..., 2D, R, K), contiguous."""
    *layers, taps, channels, residual = weight.shape
    pairs = weight.reshape(*layers, taps, channels // 2, 2, residual)
    halves = pairs.transpose(-3, -2).movedim(-4, -1)
    return halves.reshape(*layers, channels, residual, taps).contiguous()


def forward(
    layer: PackedLayer,
    x: Tensor,
    *,
    z: Tensor | None = None,
    residual: Tensor | None = None,
    skip: Tensor | None = None,
    accumulate_skip: bool = False,
    past: Tensor | None = None,
) -> None:
    """Compute what there is a tensor for, in rows order; past (B, left, R) comes before x."""
    batch, _, time = x.shape
    sizes = layer.sizes
    launcher = current_launcher()
    blocks = launcher.configure("layer", x, **sizes)
    grid = (batch * triton.cdiv(time, blocks["BLOCK_T"]),)
    launcher.bind(layer_kernel, grid)(
        x, *_batch_and_time(x),
        x if past is None else past, 0 if past is None else past.stride(0),
        layer.conv, _pointer(layer.conv_bias, x),
        _pointer(layer.cond, x), *_batch_and_time(layer.cond),
        _pointer(layer.out, x), _pointer(layer.out_bias, x),
        _pointer(z, x), _pointer(residual, x), _pointer(skip, x),
        time, layer.dilation, layer.left, layer.residual_scale,
        **sizes,
        HAS_PAST=past is not None, HAS_CONV_BIAS=layer.conv_bias is not None,
        HAS_COND=layer.cond is not None, HAS_OUT_BIAS=layer.out_bias is not None,
        KEEP_Z=z is not None, RESIDUAL=_has_channels(residual), SKIP=_has_channels(skip),
        ACCUMULATE_SKIP=accumulate_skip,
        **blocks, **launcher.numerics(x),
    )  # fmt: skip


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    left: int,
    y: Tensor,
    *,
    transposed: bool = False,
    add: Tensor | None = None,
    add_scale: float = 1.0,
) -> None:
    """y = the convolution of x, + bias, + add_scale * add. weight (K, C, R); transposed (K, R, C)
    with its taps in reverse.
    """
    batch, channels, time = x.shape
    sizes = {"R": channels, "C": y.shape[1], "K": weight.shape[0]}
    launcher = current_launcher()
    blocks = launcher.configure("convolution", x, **sizes)
    grid = (
        batch * triton.cdiv(time, blocks["BLOCK_T"]),
        triton.cdiv(sizes["C"], blocks["BLOCK_C"]),
    )
    launcher.bind(convolution_kernel, grid)(
        x, *_batch_and_time(x), weight, _pointer(bias, x),
        _pointer(add, x), *_batch_and_time(add), add_scale,
        y, time, dilation, left,
        **sizes, TRANSPOSED=transposed, HAS_BIAS=bias is not None, HAS_ADD=add is not None,
        **blocks, PRECISION=launcher.numerics(x)["PRECISION"],
    )  # fmt: skip


def compute_input_gradient(
    grad_a: Tensor,
    weight: Tensor,
    dilation: int,
    left: int,
    grad_x: Tensor,
    *,
    add: Tensor | None = None,
    add_scale: float = 1.0,
) -> None:
    """grad_x of a convolution with packed weight (K, C, R) whose left padding was `left`."""
    ahead = (weight.shape[0] - 1) * dilation - left
    convolve(
        grad_a, weight, None, dilation, ahead, grad_x,
        transposed=True, add=add, add_scale=add_scale,
    )  # fmt: skip


def compute_weight_gradient(
    a: Tensor, b: Tensor, taps: int = 1, dilation: int = 1, left: int = 0, scale: float = 1.0
) -> Tensor:
    """scale * sum over clips and times of a[t] b[t - left + k dilation]^T: (taps, a's, b's
    channels) in float32.
    """
    batch, m, time = a.shape
    n = b.shape[1]
    launcher = current_launcher()
    blocks = launcher.configure("weight_gradient", a, M=m, N=n, K=taps)
    tiles = batch * triton.cdiv(time, blocks["BLOCK_T"])
    grid = (triton.cdiv(m, blocks["BLOCK_M"]), triton.cdiv(n, blocks["BLOCK_N"]) * taps)
    shares = max(1, min(tiles, 2 * launcher.processors(a.device) // (grid[0] * grid[1])))
    each = triton.cdiv(tiles, shares)
    shares = triton.cdiv(tiles, each)
    sums = a.new_empty(shares, taps, m, n, dtype=torch.float32)
    launcher.bind(weight_gradient_kernel, (*grid, shares))(
        a, *_batch_and_time(a), b, *_batch_and_time(b), sums, taps * m * n, m * n,
        batch, time, each, dilation, left, scale,
        M=m, N=n, K=taps, **blocks, PRECISION=launcher.numerics(a)["PRECISION"],
    )  # fmt: skip
    return sums.sum(0)


@dataclass(frozen=True)
class LayerGradients:
    """The gradients of a layer's weights, in float32 and packed, and of its conditioning."""

    conv: Tensor  # (K, D x 2, R)
    conv_bias: Tensor  # (2D,)
    out: Tensor | None  # (R+S, D)
    residual_bias: Tensor | None  # (R,); the skip part is the sum of grad_skip, whatever the layer
    a_sums: Tensor  # (B, 2D), over time


def can_fuse_backward(layer: PackedLayer, x: Tensor) -> bool:
    """Whether one kernel can make all gradients: of 16-bit tensors, sums that fit in registers."""
    sizes = layer.sizes
    if layer.out is None or sizes["K"] > MOST_TAPS or x.dtype == torch.float32:
        return False
    if max(sizes["R"], sizes["S"]) > tuning.MOST_CHANNELS:
        return False
    return tuning.gradient_sums(**sizes) <= tuning.MOST_GRADIENT_SUMS


@dataclass(frozen=True)
class Walk:
    """How `layer_gradient_kernel` goes through the rows (see there)."""

    stride: int
    shift: int
    columns: int
    column_tiles: int
    segments: int
    segment_tiles: int
    total: int
    later: int
    earlier: int

    @classmethod
    def of(cls, layer: PackedLayer, batch: int, time: int, block_t: int, programs: int) -> Walk:
        """For a layer on `batch` clips of `time` rows, shared by `programs` programs."""
        far = layer.dilation >= block_t
        stride = layer.dilation if far else block_t
        shift = min(layer.dilation, block_t)
        columns = triton.cdiv(layer.dilation, block_t) if far else 1
        column_tiles = triton.cdiv(time, stride)
        later = triton.cdiv(layer.left_taps * shift, block_t)
        earlier = triton.cdiv((layer.conv.shape[0] - 1 - layer.left_taps) * shift, block_t)
        # Tiles between segments are computed twice: segments are long, but enough for everybody.
        wanted = max(1, min(column_tiles * batch * columns // (2 * programs), 16))
        segments = triton.cdiv(column_tiles, wanted)
        segment_tiles = triton.cdiv(column_tiles, segments)
        segments = triton.cdiv(column_tiles, segment_tiles)
        total = batch * columns * segments
        return cls(
            stride, shift, columns, column_tiles, segments, segment_tiles, total, later, earlier
        )

    def scalars(self) -> tuple[int, ...]:
        """As the kernel takes them."""
        return (
            self.stride, self.shift, self.columns, self.column_tiles, self.segments,
            self.segment_tiles, self.total, self.later, self.earlier,
        )  # fmt: skip


def fused_backward(
    layer: PackedLayer,
    x: Tensor,
    grad_residual: Tensor | None,
    grad_skip: Tensor | None,
    grad_x: Tensor | None,
    grad_cond: Tensor | None,
) -> LayerGradients:
    """The gradients of a layer of which one kernel can make them all (`can_fuse_backward`).

    grad_x is written, and grad_cond if local.
    """
    batch, _, time = x.shape
    sizes = layer.sizes
    assert layer.out is not None
    x, grad_residual = without_gaps(x), without_gaps(grad_residual)
    grad_skip = without_gaps(grad_skip)
    launcher = current_launcher()
    blocks = launcher.configure("layer_gradient", x, **sizes)
    block_t = blocks["BLOCK_T"]
    # Registers are what there is room for: eight warps', with the sums that each keeps.
    programs = launcher.processors(x.device) * max(1, 8 // blocks["num_warps"])
    walk = Walk.of(layer, batch, time, block_t, programs)
    programs = min(programs, walk.total)
    slots = walk.later + walk.earlier + 2
    gated = 2 * sizes["D"]
    ring = x.new_empty(programs * slots * block_t * gated if grad_x is not None else 0)

    def sums(*shape: int) -> Tensor:
        # Zeros for the residual part where there is no residual.
        make = x.new_empty if grad_residual is not None and grad_skip is not None else x.new_zeros
        return make(*shape, dtype=torch.float32)

    conv = x.new_empty(programs, *layer.conv.shape, dtype=torch.float32)
    out = sums(programs, *layer.out.shape)
    tiles = walk.columns * walk.column_tiles
    columns = gated + (sizes["R"] if _has_channels(grad_residual) else 0)
    tile_sums = x.new_empty(batch, tiles, columns, dtype=torch.float32)
    launcher.bind(layer_gradient_kernel, (programs,))(
        x, layer.conv, _pointer(layer.conv_bias, x),
        _pointer(layer.cond, x), *_batch_and_time(layer.cond),
        layer.out, _pointer(grad_residual, x), _pointer(grad_skip, x),
        _pointer(grad_cond, x), *_batch_and_time(grad_cond),
        _pointer(grad_x, x), ring,
        conv, out, tile_sums,
        time, layer.dilation, layer.left, layer.left_taps, layer.residual_scale, *walk.scalars(),
        **sizes,
        HAS_CONV_BIAS=layer.conv_bias is not None, HAS_COND=layer.cond is not None,
        RESIDUAL=_has_channels(grad_residual), SKIP=_has_channels(grad_skip),
        GRAD_X=grad_x is not None, GRAD_COND=grad_cond is not None,
        **blocks, **launcher.numerics(x),
    )  # fmt: skip
    return _sum_partials(layer, conv, out, tile_sums)


def _sum_partials(
    layer: PackedLayer, conv: Tensor, out: Tensor, tile_sums: Tensor
) -> LayerGradients:
    """Of what programs and tiles have left: (programs, ...) twice and (B, tiles, columns)."""
    batch, tiles, columns = tile_sums.shape
    residual, gated = layer.sizes["R"], 2 * layer.sizes["D"]
    conv_sum, out_sum, sums = (
        like.new_empty(shape)
        for like, shape in ((conv, conv.shape[1:]), (out, out.shape[1:]), (conv, (batch, columns)))
    )
    of_each = triton.cdiv(columns, SUMS_BLOCK) * batch
    grid = triton.cdiv(conv_sum.numel(), SUMS_BLOCK) + triton.cdiv(out_sum.numel(), SUMS_BLOCK)
    current_launcher().bind(sum_partials_kernel, (grid + of_each,))(
        conv, out, tile_sums, conv_sum, out_sum, sums,
        conv.shape[0], tiles, layer.residual_scale,
        CONV=conv_sum.numel(), OUT=out_sum.numel(), D=gated // 2, COLUMNS=columns,
        BLOCK=SUMS_BLOCK, ROWS=SUMS_ROWS, num_warps=4, num_stages=1,
    )  # fmt: skip
    over_clips = sums.sum(0)
    has_residual = columns > gated
    residual_bias = over_clips[gated:] if has_residual else sums.new_zeros(residual)
    return LayerGradients(conv_sum, over_clips[:gated], out_sum, residual_bias, sums[:, :gated])


def backward(
    layer: PackedLayer,
    x: Tensor,
    grad_residual: Tensor | None,
    grad_skip: Tensor | None,
    grad_x: Tensor | None,
    grad_cond: Tensor | None,
) -> LayerGradients:
    """The same of any layer in several kernels; of a gated convolution, grad_skip is that of z."""
    batch, _, time = x.shape
    sizes = layer.sizes
    gated = layer.out is None
    z = None if gated else empty_rows(x, batch, sizes["D"], time)
    grad_a = empty_rows(x, batch, 2 * sizes["D"], time) if grad_cond is None else grad_cond
    launcher = current_launcher()
    blocks = launcher.configure("gate_gradient", x, **sizes)
    grid = (
        batch * triton.cdiv(time, blocks["BLOCK_T"]),
        triton.cdiv(sizes["D"], blocks["BLOCK_D"]),
    )
    launcher.bind(gate_gradient_kernel, grid)(
        x, *_batch_and_time(x),
        layer.conv, _pointer(layer.conv_bias, x),
        _pointer(layer.cond, x), *_batch_and_time(layer.cond),
        _pointer(layer.out, x),
        _pointer(grad_residual, x), *_batch_and_time(grad_residual),
        _pointer(grad_skip, x), *_batch_and_time(grad_skip),
        _pointer(z, x), grad_a, *_batch_and_time(grad_a),
        time, layer.dilation, layer.left, layer.residual_scale,
        **sizes,
        HAS_CONV_BIAS=layer.conv_bias is not None, HAS_COND=layer.cond is not None,
        GIVEN=gated, KEEP_Z=not gated,
        RESIDUAL=_has_channels(grad_residual), SKIP=_has_channels(grad_skip),
        **blocks, **launcher.numerics(x),
    )  # fmt: skip
    if grad_x is not None:
        # grad_a has the filter's channels first, as grad_cond does.
        conv = pack(unpack_gate(layer.conv))
        compute_input_gradient(
            grad_a, conv, layer.dilation, layer.left, grad_x,
            add=grad_residual, add_scale=layer.residual_scale,
        )  # fmt: skip
    conv = compute_weight_gradient(grad_a, x, sizes["K"], layer.dilation, layer.left)
    conv = pack_gate(unpack(conv))
    a_sums = grad_a.sum(2, dtype=torch.float32)
    out = residual_bias = None
    if layer.out is not None:
        assert z is not None
        out = torch.cat(
            [
                _compute_out_gradient(grad_residual, z, sizes["R"], layer.residual_scale),
                _compute_out_gradient(grad_skip, z, sizes["S"], 1.0),
            ]
        )
        residual_bias = _compute_residual_bias(layer, x, grad_residual)
    return LayerGradients(conv, a_sums.sum(0), out, residual_bias, a_sums)


def _compute_out_gradient(grad: Tensor | None, z: Tensor, channels: int, scale: float) -> Tensor:
    if grad is None:
        return z.new_zeros(channels, z.shape[1], dtype=torch.float32)
    return compute_weight_gradient(grad, z, scale=scale)[0]


def _compute_residual_bias(layer: PackedLayer, x: Tensor, grad: Tensor | None) -> Tensor:
    if grad is None:
        return x.new_zeros(x.shape[1], dtype=torch.float32)
    return sum_over_rows(grad) * layer.residual_scale


@overload
def without_gaps(x: Tensor) -> Tensor: ...
@overload
def without_gaps(x: Tensor | None) -> Tensor | None: ...
def without_gaps(x: Tensor | None) -> Tensor | None:
    """In the memory order of (B, T, C) rows with no gaps: x itself, or a copy of it."""
    return None if x is None else x.transpose(1, 2).contiguous().transpose(1, 2)


def sum_over_rows(grad: Tensor) -> Tensor:
    """The sum over clips and times, in float32."""
    return grad.sum((0, 2), dtype=torch.float32)


def _has_channels(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.shape[1] > 0


def _pointer(tensor: Tensor | None, placeholder: Tensor) -> Tensor:
    """The tensor, or in place of none another that is never read."""
    return placeholder if tensor is None else tensor


def _batch_and_time(x: Tensor | None) -> tuple[int, int]:
    """Strides of a (B, C, T) tensor with channel stride 1; a single time serves all times."""
    if x is None:
        return 0, 0
    return x.stride(0), x.stride(2) if x.shape[2] > 1 else 0
