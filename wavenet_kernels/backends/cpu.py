"""The backend of the C++ kernels in csrc/cpu: any shape and dtype on CPUs, all of torch's threads.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and so is the input x in any strides; others are copied once.
bfloat16 and float16 activations are computed on in float32, with weights that were converted.
WAVENET_KERNELS_CPU_ISA (portable, avx2 or avx512) forces the instruction set, otherwise the best
one here is taken. WAVENET_KERNELS_CPU_FAST=0 makes convolutions of two and three taps plain sums of
products; by default they take a quarter and a third fewer multiplications (csrc/cpu/fast.h).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

# torch before the compiled module: it loads the OpenMP runtime that both then share.
import torch
from torch import Tensor

from wavenet_kernels.backends.block import block_backward_of, block_of
from wavenet_kernels.backends.gradients import empty_weights, gradients_of
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.rows import address_of, channels_last, empty_rows, rows_of

_missing: str | None = None
try:
    import wavenet_kernels._cpu as _cpu
except ImportError as error:
    _missing = f"its compiled module can't be loaded ({error}); `pip install .` builds it"

NAME = "cpu"


def unavailable() -> str | None:
    """Why this backend can't work on this machine, or None."""
    return _missing


def describe() -> str:
    """The instruction set in use and the number of threads."""
    try:
        isa = _isa(os.environ.get("WAVENET_KERNELS_CPU_ISA", ""))
    except ValueError as error:
        return str(error)
    return f"{isa}, {torch.get_num_threads()} threads"


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    batch, channels, time = a.shape
    z = empty_rows(a, batch, channels // 2, time)
    a, cond = channels_last(a), channels_last(cond)
    shape = (batch, time, channels // 2)
    _cpu.gated_activation(_how(a), shape, rows_of(a), rows_of(cond), rows_of(z))
    return z


def gated_activation_backward(grad: Tensor, a: Tensor, cond: Tensor | None) -> Tensor:
    batch, channels, time = a.shape
    grad_a = empty_rows(a, batch, channels, time)
    grad, a, cond = channels_last(grad), channels_last(a), channels_last(cond)
    shape = (batch, time, channels // 2)
    _cpu.gated_activation_backward(
        _how(a), shape, rows_of(a), rows_of(cond), rows_of(grad), rows_of(grad_a)
    )
    return grad_a


def dilated_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, padding: str
) -> Tensor:
    y = empty_rows(x, x.shape[0], weight.shape[0], x.shape[2])
    convolution = _Convolution(x, weight, bias)
    _cpu.dilated_conv1d(
        *convolution.arguments(),
        *map(address_of, convolution.weights),
        dilation,
        padding == "same",
        rows_of(y),
    )
    return y


def dilated_conv1d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    padding: str,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    convolution, grad = _Convolution(x, weight, bias), channels_last(grad)
    grad_x = empty_rows(x, *x.shape) if output_mask[0] else None
    grad_weights = empty_weights(convolution.weights, output_mask[1:3])
    _cpu.dilated_conv1d_backward(
        *convolution.arguments(),
        address_of(convolution.weights[0]),
        dilation,
        padding == "same",
        rows_of(grad),
        rows_of(grad_x),
        *map(address_of, grad_weights),
    )
    return gradients_of(x, grad_x, *grad_weights)


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> Tensor:
    z = empty_rows(x, x.shape[0], weight.shape[0] // 2, x.shape[2])
    convolution = _Convolution(x, weight, bias)
    cond = channels_last(cond)
    _cpu.gated_conv1d(
        *convolution.arguments(),
        *map(address_of, convolution.weights),
        rows_of(cond),
        dilation,
        padding == "same",
        rows_of(z),
    )
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
    convolution = _Convolution(x, weight, bias)
    cond, grad = channels_last(cond), channels_last(grad)
    grad_x = empty_rows(x, *x.shape) if output_mask[0] else None
    grad_weights = empty_weights(convolution.weights, output_mask[1:3])
    grad_cond = empty_rows(cond, *cond.shape) if cond is not None and output_mask[3] else None
    _cpu.gated_conv1d_backward(
        *convolution.arguments(),
        *map(address_of, convolution.weights),
        rows_of(cond),
        dilation,
        padding == "same",
        rows_of(grad),
        rows_of(grad_x),
        *map(address_of, grad_weights),
        rows_of(grad_cond),
    )
    return gradients_of(x, grad_x, *grad_weights, grad_cond)


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
    batch, channels, time = x.shape
    layers = len(dilations)
    residual = empty_rows(x, batch, channels if last_residual else 0, time)
    skip = empty_rows(x, batch, out_weight.shape[1] - channels, time)
    kept = len(range(checkpoint_every, layers, checkpoint_every)) if save else 0
    saved = x.new_empty(kept, batch, time, channels)
    # Inputs of layers that are not saved alternate between two buffers, one of them the residual
    # output where there is one.
    unsaved = layers - 1 - kept
    scratch = [
        empty_rows(x, batch, channels, time) if unsaved > 0 else None,
        residual
        if last_residual
        else empty_rows(x, batch, channels, time)
        if unsaved > 1
        else None,
    ]
    stack = _Stack(x, (conv_weight, conv_bias, out_weight, out_bias), cond)
    _cpu.residual_stack(
        *stack.arguments(dilations, padding, residual_scale, saved),
        checkpoint_every,
        rows_of(residual),
        rows_of(skip),
        tuple(map(rows_of, scratch)),
    )
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
    batch, channels, time = x.shape
    gated = conv_weight.shape[1]
    weights = [_as_real(w, x) for w in (conv_weight, conv_bias, out_weight, out_bias)]
    grad_x = empty_rows(x, batch, channels, time)
    grad_weights = empty_weights(weights, output_mask[1:5])
    grad_cond = empty_rows(cond, *cond.shape) if cond is not None and output_mask[5] else None
    grad_skip = channels_last(grad_skip)

    grad = channels_last(grad_residual) if last_residual else None
    # With every input saved one call does; else a call for each part that starts with a saved one.
    size = len(dilations) if checkpoint_every == 1 else checkpoint_every
    for first in reversed(range(0, len(dilations), size)):
        part = slice(first, first + size)
        of_part = slice(first * gated, (first + size) * gated)
        stack = _Stack(
            saved[first // checkpoint_every - 1].transpose(1, 2) if first else x,
            [None if w is None else w[part] for w in weights],
            None if cond is None else cond[:, of_part],
        )
        inputs = saved.contiguous()
        if checkpoint_every > 1:
            inputs = stack.inputs(dilations[part], padding, residual_scale)
        _cpu.residual_stack_backward(
            *stack.arguments(dilations[part], padding, residual_scale, inputs),
            rows_of(grad),
            rows_of(grad_skip),
            rows_of(grad_x),
            first > 0 or output_mask[0],
            rows_of(None if grad_cond is None else grad_cond[:, of_part]),
            tuple(address_of(None if g is None else g[part]) for g in grad_weights),
        )
        grad = grad_x
    return gradients_of(x, grad_x if output_mask[0] else None, *grad_weights, grad_cond)


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
    stream = _Stream(weights, dilations, residual_scale, x.shape[0], x)
    state, new_state = state.contiguous(), state.new_empty(state.shape)
    stream.kernels.load_state(state.data_ptr())
    residual, skip = stream.step(x, cond)
    stream.kernels.store_state(new_state.data_ptr())
    return residual, skip, new_state


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
    return _Stream(weights, dilations, residual_scale, batch, conv_weight)


class _Stream:
    """The compiled stream and the outputs of its last step, which the next of that size reuses."""

    def __init__(
        self,
        weights: Sequence[Tensor | None],
        dilations: Sequence[int],
        residual_scale: float,
        batch: int,
        like: Tensor,
    ) -> None:
        real = [_as_real(w, like) for w in weights]
        conv_weight, _, out_weight, _ = real
        assert conv_weight is not None and out_weight is not None
        _, gated, residual, taps = conv_weight.shape
        self._like = like.new_empty(0)
        self._channels = (residual, out_weight.shape[1] - residual)
        shape = (batch, residual, gated // 2, self._channels[1], taps)
        self.kernels = _cpu.Stream(
            _how(like), shape, list(dilations), residual_scale, tuple(map(address_of, real))
        )
        self._batch, self._time = batch, 0
        self._outputs: tuple[Tensor, Tensor]

    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        time = x.shape[2]
        if time != self._time:
            residual, skip = (
                empty_rows(self._like, self._batch, channels, time) for channels in self._channels
            )
            self._outputs, self._time = (residual, skip), time
            self._rows = rows_of(residual), rows_of(skip)
        x = x.resolve_neg()
        cond = None if cond is None else channels_last(cond.resolve_neg())
        threads = torch.get_num_threads()
        self.kernels.step(time, rows_of(x), rows_of(cond), *self._rows, threads)
        return self._outputs

    def reset(self) -> None:
        self.kernels.reset()


class _Convolution:
    """A convolution's tensors as the kernels take them; holds what it had to copy."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        self.x = x
        self.weights = [_as_real(weight, x), _as_real(bias, x)]

    def arguments(self) -> tuple[Any, ...]:
        """The first arguments of the convolutions' kernels."""
        weight = self.weights[0]
        assert weight is not None
        (batch, residual, time), (channels, _, taps) = self.x.shape, weight.shape
        return _how(self.x), (batch, time, residual, channels, taps), rows_of(self.x)


class _Stack:
    """A stack's tensors as the kernels take them: weights contiguous, channels last.

    It holds what it had to copy, for as long as the addresses are in use.
    """

    def __init__(
        self,
        x: Tensor,
        weights: Sequence[Tensor | None],  # conv_weight, conv_bias, out_weight, out_bias
        cond: Tensor | None,
    ) -> None:
        self.x, self.cond = x, channels_last(cond)
        self.weights = [_as_real(w, x) for w in weights]
        conv_weight, _, out_weight, _ = self.weights
        assert conv_weight is not None and out_weight is not None
        _, gated, residual, taps = conv_weight.shape
        batch, _, time = x.shape
        self.shape = (batch, time, residual, gated // 2, out_weight.shape[1] - residual, taps)

    def arguments(
        self, dilations: Sequence[int], padding: str, residual_scale: float, saved: Tensor
    ) -> tuple[Any, ...]:
        """The first arguments of the stack's kernels, forward and backward."""
        return (
            _how(self.x),
            self.shape,
            list(dilations),
            padding == "same",
            residual_scale,
            rows_of(self.x),
            tuple(map(address_of, self.weights)),
            rows_of(self.cond),
            rows_of(saved[0].transpose(1, 2) if saved.numel() else None),
            saved.stride(0),
        )

    def inputs(self, dilations: Sequence[int], padding: str, residual_scale: float) -> Tensor:
        """The input of every layer but the first, computed again: (L-1, B, T, R)."""
        batch, time, residual, *_ = self.shape
        inputs = self.x.new_empty(len(dilations) - 1, batch, time, residual)
        if len(dilations) > 1:
            absent = rows_of(None)
            _cpu.residual_stack(
                *self.arguments(dilations[:-1], padding, residual_scale, inputs),
                1,
                rows_of(inputs[-1].transpose(1, 2)),
                absent,
                (absent, absent),
            )
        return inputs


@functools.cache
def _isa(forced: str) -> str:
    """The instruction set to use; `forced` is WAVENET_KERNELS_CPU_ISA, empty when not set."""
    try:
        isa: str = _cpu.find_isa(forced)
    except ValueError as error:
        raise ValueError(f"WAVENET_KERNELS_CPU_ISA: {error}") from None
    return isa


def _how(x: Tensor) -> tuple[str, int, str, bool]:
    """What every kernel is told first: instruction set, threads, dtype, fast convolutions."""
    if x.device.type != "cpu":
        raise BackendUnavailableError(
            f'the cpu backend computes on CPU tensors, not on {x.device}; use_backend("auto") '
            "picks a backend by device"
        )
    isa = _isa(os.environ.get("WAVENET_KERNELS_CPU_ISA", ""))
    fast = os.environ.get("WAVENET_KERNELS_CPU_FAST", "1")
    if fast not in ("0", "1"):
        raise ValueError(f"WAVENET_KERNELS_CPU_FAST is {fast!r}; accepted are 0 and 1")
    return isa, torch.get_num_threads(), str(x.dtype).removeprefix("torch."), fast == "1"


def _as_real(weight: Tensor | None, x: Tensor) -> Tensor | None:
    """Weights as the kernels take them: contiguous, in the type that x is computed on in."""
    if weight is None:
        return None
    return weight.to(torch.float64 if x.dtype == torch.float64 else torch.float32).contiguous()
