"""The backend of the CUDA C++ kernels in csrc/cuda: float32, bfloat16 and float16 on NVIDIA GPUs.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and any other one is copied once. They run on torch's current
stream of the tensors' device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor

from wavenet_kernels.backends.block import block_backward_of, block_of
from wavenet_kernels.backends.gradients import empty_weights, gradients_of
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.rows import Rows, address_of, channels_last, empty_rows, rows_of

_missing: str | None = None
try:
    import wavenet_kernels._cuda as _cuda
except ImportError as error:
    _missing = (
        f"its compiled module can't be loaded ({error}); "
        "`WAVENET_KERNELS_CUDA=1 pip install .` builds it where nvcc is installed"
    )

NAME = "cuda"
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
_DEVICE = "cuda"
_CHANNELS = (16, 32, 64, 128, 256)  # R and D of stacks
_MOST_SKIP, _MOST_TAPS = 512, 4


@functools.cache
def unavailable() -> str | None:
    """Why this backend can't work on this machine, or None."""
    if _missing is not None:
        return _missing
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return f"no CUDA device ({_built_for()})"
    if _cuda.device_count() == 0:
        return f"the driver is too old for this module ({_built_for()})"
    return None


def describe() -> str:
    """What the compiled module was built for."""
    return _built_for()


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    _refuse_what_does_not_fit(a)
    batch, channels, time = a.shape
    z = empty_rows(a, batch, channels // 2, time)
    a, cond = channels_last(a), channels_last(cond)
    shape = (batch, time, channels // 2)
    _cuda.gated_activation(
        *_where(a), _DTYPES[a.dtype], shape, rows_of(a), rows_of(cond), rows_of(z)
    )
    return z


def gated_activation_backward(grad: Tensor, a: Tensor, cond: Tensor | None) -> Tensor:
    _refuse_what_does_not_fit(a)
    batch, channels, time = a.shape
    grad_a = empty_rows(a, batch, channels, time)
    grad, a = channels_last(grad), channels_last(a)
    cond = channels_last(cond)
    shape = (batch, time, channels // 2)
    _cuda.gated_activation_backward(
        *_where(a),
        _DTYPES[a.dtype],
        shape,
        rows_of(grad),
        rows_of(a),
        rows_of(cond),
        rows_of(grad_a),
    )
    return grad_a


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> Tensor:
    call = _Stack(x, (weight[None], _one(bias), None, None), cond, [dilation], padding, 1.0)
    z = empty_rows(x, x.shape[0], weight.shape[0] // 2, x.shape[2])
    call.forward(z=z)
    return z


def gated_conv1d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    call = _Stack(x, (weight[None], _one(bias), None, None), cond, [dilation], padding, 1.0)
    want_x, want_weight, want_bias, want_cond = output_mask
    grad_x, weights, grad_cond = call.backward(
        (want_x, want_weight, want_bias, False, False, want_cond), z=grad
    )
    return gradients_of(x, grad_x, *(None if w is None else w[0] for w in weights[:2]), grad_cond)


def residual_stack(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
    padding: str,
    residual_scale: float,
    last_residual: bool,
    checkpoint_every: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    call = _Stack(x, weights, cond, dilations, padding, residual_scale)
    batch, channels, time = x.shape
    residual = empty_rows(x, batch, channels if last_residual else 0, time)
    skip = empty_rows(x, batch, out_weight.shape[1] - channels, time)
    kept = len(range(checkpoint_every, len(dilations), checkpoint_every)) if save else 0
    saved = x.new_empty(kept, batch, time, channels)
    if residual.numel() or skip.numel():
        call.forward(residual, skip, saved=saved, checkpoint_every=checkpoint_every)
    return residual, skip, saved


def residual_stack_backward(
    grad_residual: Tensor,
    grad_skip: Tensor,
    x: Tensor,
    saved: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
    padding: str,
    residual_scale: float,
    last_residual: bool,
    checkpoint_every: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    gated = conv_weight.shape[1]
    weights = [
        None if w is None else w.contiguous()
        for w in (conv_weight, conv_bias, out_weight, out_bias)
    ]
    found = empty_weights(weights, output_mask[1:5])
    grad_cond = empty_rows(cond, *cond.shape) if cond is not None and output_mask[5] else None
    grad = grad_residual if last_residual else None
    # With every input saved one call does; else a call for each part that starts with a saved one.
    size = len(dilations) if checkpoint_every == 1 else checkpoint_every
    for first in reversed(range(0, len(dilations), size)):
        part, of_part = slice(first, first + size), slice(first * gated, (first + size) * gated)
        call = _Stack(
            saved[first // checkpoint_every - 1].transpose(1, 2) if first else x,
            [None if w is None else w[part] for w in weights],
            None if cond is None else cond[:, of_part],
            dilations[part],
            padding,
            residual_scale,
        )
        grad, *_ = call.backward(
            (first > 0 or output_mask[0], *output_mask[1:]),
            grad,
            grad_skip,
            saved=saved if checkpoint_every == 1 else call.inputs(),
            weights=[None if g is None else g[part] for g in found],
            cond=None if grad_cond is None else grad_cond[:, of_part],
        )
    return gradients_of(x, grad, *found, grad_cond)


residual_block = block_of(residual_stack)
residual_block_backward = block_backward_of(residual_stack_backward)


def residual_stack_stream(
    x: Tensor,
    state: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
    residual_scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    stream = _Stream(weights, dilations, residual_scale, x.shape[0], state)
    residual, skip = stream.step(x, cond)
    # The rings were oldest first and begin `time` rows further on now.
    rows = [(conv_weight.shape[3] - 1) * d for d in dilations]
    rings = [ring.roll(-x.shape[2], 1) for ring in stream.state.split(rows, 1)]
    return residual, skip, torch.cat(rings, 1)


def stack_stream(
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    dilations: Sequence[int],
    residual_scale: float,
    batch: int,
) -> _Stream:
    """What `wavenet_kernels.streaming.StackStream` steps through."""
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    return _Stream(weights, dilations, residual_scale, batch)


class _Stream:
    """Packed weights, and rings of past inputs that every step goes on from in place.

    Where the rings stand is in device memory too, so that a captured step may be replayed.
    """

    def __init__(
        self,
        weights: Sequence[Tensor | None],
        dilations: Sequence[int],
        residual_scale: float,
        batch: int,
        state: Tensor | None = None,
    ) -> None:
        conv_weight, conv_bias, out_weight, out_bias = weights
        assert conv_weight is not None and out_weight is not None
        _refuse_what_does_not_fit(conv_weight)
        _refuse_float32(conv_weight)
        _, gated, residual, taps = conv_weight.shape
        skip = out_weight.shape[1] - residual
        _refuse_sizes(residual, gated // 2, skip, taps)
        device, stream = _where(conv_weight)
        sizes = (batch, 1, residual, gated // 2, skip, taps)
        self._plan = _plan(
            "StackStream", device, _DTYPES[conv_weight.dtype], sizes, tuple(dilations)
        )
        contiguous = [None if w is None else w.contiguous() for w in weights]
        size, place = self._plan.weight_bytes, conv_weight.device
        self._packed = torch.empty(size, dtype=torch.uint8, device=place)
        self._plan.pack(device, stream, _addresses(contiguous), self._packed.data_ptr())
        self._biases = [None if b is None else _copy(b) for b in (conv_bias, out_bias)]
        self._scale, self._channels = residual_scale, (residual, skip)
        if state is None:
            state = conv_weight.new_zeros(batch, (taps - 1) * sum(dilations), residual)
            self.state = state
        else:
            self.state = _copy(state)
        self._positions = torch.zeros(batch, dtype=torch.int64, device=place)

    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, _, time = x.shape
        residual, skip = (empty_rows(x, batch, channels, time) for channels in self._channels)
        x = _aligned(x.resolve_neg())
        cond = None if cond is None else _aligned(cond.resolve_neg())
        self._plan.step(
            *_where(x),
            (batch, time),
            rows_of(x),
            _addresses([None, self._biases[0], None, self._biases[1]]),
            self._packed.data_ptr(),
            rows_of(cond),
            self._scale,
            address_of(self.state),
            self._positions.data_ptr(),
            rows_of(residual),
            rows_of(skip),
        )
        return residual, skip

    def reset(self) -> None:
        self.state.zero_()
        self._positions.zero_()


class _Stack:
    """A call's tensors as the kernels take them; holds what it had to copy."""

    def __init__(
        self,
        x: Tensor,
        weights: Sequence[Tensor | None],  # conv_weight, conv_bias, out_weight, out_bias
        cond: Tensor | None,
        dilations: Sequence[int],
        padding: str,
        residual_scale: float,
    ) -> None:
        _refuse_what_does_not_fit(x)
        self.x, self.cond = _aligned(x), _aligned(cond)
        self.weights = [None if w is None else w.contiguous() for w in weights]
        conv_weight, _, out_weight, _ = self.weights
        assert conv_weight is not None
        _, gated, residual, taps = conv_weight.shape
        skip = 0 if out_weight is None else out_weight.shape[1] - residual
        _refuse_sizes(residual, gated // 2, skip, taps)
        batch, _, time = x.shape
        self._where = *_where(x), _DTYPES[x.dtype]
        self._sizes = (batch, time, residual, gated // 2, skip, taps)
        self._dilations, self._same = tuple(dilations), padding == "same"
        self._scale = residual_scale

    def forward(
        self,
        residual: Tensor | None = None,
        skip: Tensor | None = None,
        *,
        saved: Tensor | None = None,
        checkpoint_every: int = 1,
        z: Tensor | None = None,
    ) -> None:
        """Writes the outputs, which are in rows order; saved (n, B, T, R)."""
        keeps = saved is not None and saved.numel() > 0
        keep = keeps and checkpoint_every == 1
        _refuse_float32(self.x)  # here alone: a backward follows its forward
        wanted = [o is not None and o.numel() > 0 for o in (residual, skip)]
        plan = _plan("StackForward", *self._settings(), *wanted, keep)
        workspace = self._workspace(plan.workspace_bytes)
        plan.run(
            *self._inputs(),
            *_rows_of_saved(saved),
            checkpoint_every,
            rows_of(residual),
            rows_of(skip),
            rows_of(z),
            workspace.data_ptr(),
        )

    def inputs(self) -> Tensor:
        """The input of every layer but the first, computed again: (L-1, B, T, R)."""
        batch, time, residual, gate, *_ = self._sizes
        inputs = self.x.new_empty(len(self._dilations) - 1, batch, time, residual)
        if len(inputs):
            _Stack(
                self.x,
                [None if w is None else w[:-1] for w in self.weights],
                None if self.cond is None else self.cond[:, : -2 * gate],
                self._dilations[:-1],
                "same" if self._same else "causal",
                self._scale,
            ).forward(inputs[-1].transpose(1, 2), saved=inputs[:-1])
        return inputs

    def backward(
        self,
        wanted: Sequence[bool],  # x, the four weights, cond
        residual: Tensor | None = None,
        skip: Tensor | None = None,
        *,
        z: Tensor | None = None,
        saved: Tensor | None = None,
        weights: Sequence[Tensor | None] | None = None,
        cond: Tensor | None = None,
    ) -> tuple[Tensor | None, Sequence[Tensor | None], Tensor | None]:
        """The gradients of x, the weights and cond, the last two into `weights` and `cond`."""
        residual, skip, z = _aligned(residual), _aligned(skip), _aligned(z)
        saved = None if saved is None else saved.contiguous()
        if skip is not None and skip.numel() == 0:
            skip = None
        if weights is None:
            weights = empty_weights(self.weights, wanted[1:5])
        if cond is None and self.cond is not None and wanted[5]:
            cond = empty_rows(self.x, *self.cond.shape)
        grad_x = empty_rows(self.x, *self.x.shape)
        fuse = cond is None or cond.shape[2] == self.x.shape[2] > 1
        plan = _plan(
            "StackBackward", *self._settings(), residual is not None, skip is not None, fuse
        )
        workspace = self._workspace(plan.workspace_bytes)
        plan.run(
            *self._inputs(),
            *_rows_of_saved(saved),
            rows_of(residual),
            rows_of(skip),
            rows_of(z),
            rows_of(grad_x),
            wanted[0],
            _addresses(weights),
            rows_of(cond),
            workspace.data_ptr(),
        )
        return (grad_x if wanted[0] else None), weights, cond

    def _settings(self) -> tuple[Any, ...]:
        device, _, dtype = self._where
        return device, dtype, self._sizes, self._dilations, self._same

    def _inputs(self) -> tuple[Any, ...]:
        return (
            *self._where[:2],
            rows_of(self.x),
            _addresses(self.weights),
            rows_of(self.cond),
            self._scale,
        )

    def _workspace(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.x.device)


@functools.lru_cache(maxsize=256)
def _plan(kind: str, *settings: Any) -> Any:
    """How calls of such sizes are computed: made once, as it takes longer than a launch."""
    try:
        return getattr(_cuda, kind)(*settings)
    except ValueError as error:
        raise BackendUnavailableError(
            f"the cuda backend: {error}; the triton backend may"
        ) from None


def _rows_of_saved(saved: Tensor | None) -> tuple[Rows, int]:
    """Of contiguous (n, B, T, R), and elements from one to the next."""
    if saved is None or saved.numel() == 0:
        return rows_of(None), 0
    return rows_of(saved[0].transpose(1, 2)), saved.stride(0)


@overload
def _aligned(x: Tensor) -> Tensor: ...
@overload
def _aligned(x: Tensor | None) -> Tensor | None: ...
def _aligned(x: Tensor | None) -> Tensor | None:
    """Channels last, and every row on a boundary of 16 bytes: x itself, or a copy of it."""
    x = channels_last(x)
    if x is None or x.numel() == 0:
        return x
    batch, _, time = x.stride()
    strides = (batch if x.shape[0] > 1 else 0), (time if x.shape[2] > 1 else 0)
    if x.data_ptr() % 16 == 0 and all(s * x.element_size() % 16 == 0 for s in strides):
        return x
    return _copy(x.transpose(1, 2)).transpose(1, 2)


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)


def _one(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias[None]


def _addresses(tensors: Sequence[Tensor | None]) -> tuple[int, ...]:
    return tuple(map(address_of, tensors))


def _refuse_float32(x: Tensor) -> None:
    if x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest":
        raise BackendUnavailableError(
            "the cuda backend multiplies float32 matrices in TF32, which "
            'torch.set_float32_matmul_precision("high") allows; the triton backend computes '
            "in float32"
        )


def _refuse_sizes(residual: int, gates: int, skip: int, taps: int) -> None:
    """The products of the stacks are made of tiles of fixed sizes."""
    fitting = (
        min((n for n in _CHANNELS if n >= residual), default=_CHANNELS[-1]),
        min((n for n in _CHANNELS if n >= gates), default=_CHANNELS[-1]),
        min(-(-skip // 16) * 16, _MOST_SKIP),
        min(taps, _MOST_TAPS),
    )
    if fitting != (residual, gates, skip, taps):
        raise BackendUnavailableError(
            "the cuda backend has no kernels for R={}, D={}, S={}, K={}; the nearest that it has "
            "are for R={}, D={}, S={}, K={}, and the triton backend takes any".format(
                residual, gates, skip, taps, *fitting
            )
        )


def _built_for() -> str:
    info = _cuda.build_info()
    chips = " ".join(f"sm_{arch.removesuffix('-real')}" for arch in info["archs"].split())
    return f"built for {chips}, cudart {info['cudart']}"


@functools.cache
def _refusal(device_index: int) -> str:
    """Why this build has no code for a device; empty if it has."""
    reason: str = _cuda.refusal(device_index)
    return reason


def _refuse_what_does_not_fit(x: Tensor) -> None:
    if x.device.type != _DEVICE:
        raise BackendUnavailableError(
            f'the cuda backend computes on CUDA tensors, not on {x.device}; use_backend("auto") '
            "picks a backend by device"
        )
    if x.dtype not in _DTYPES:
        raise BackendUnavailableError(
            f"the cuda backend computes in float32, bfloat16 and float16, not {x.dtype}; convert "
            "the tensors, or use the reference backend"
        )
    if _refusal(x.device.index):
        raise BackendUnavailableError(
            f"the cuda backend has no code for {torch.cuda.get_device_name(x.device)} "
            f"({_built_for()}): {_refusal(x.device.index)}; WAVENET_KERNELS_CUDA_ARCHS=native "
            "when it is built adds it"
        )


def _where(x: Tensor) -> tuple[int, int]:
    """Device and stream, as torch numbers them."""
    return x.device.index, torch.cuda.current_stream(x.device).cuda_stream
