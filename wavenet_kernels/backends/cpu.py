"""The backend of the C++ kernels in csrc/cpu: float32 on CPUs, any shape, all of torch's threads.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and any other one is copied once. WAVENET_KERNELS_CPU_ISA
(portable, avx2 or avx512) forces the instruction set, otherwise the best one here is taken.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

# torch before the compiled module: it loads the OpenMP runtime that both then share.
import torch
from torch import Tensor

from wavenet_kernels.errors import BackendUnavailableError

_missing: str | None = None
try:
    import wavenet_kernels._cpu as _cpu
except ImportError as error:
    _missing = f"its compiled module can't be loaded ({error}); `pip install .` builds it"

NAME = "cpu"

# Address, batch stride, time stride of rows with contiguous channels; address 0: absent.
_Rows = tuple[int, int, int]


def unavailable() -> str | None:
    """Why this backend can't work on this machine, or None."""
    return _missing


def describe() -> str:
    """The instruction set in use and the number of threads."""
    try:
        isa = _isa(os.environ.get("WAVENET_KERNELS_CPU_ISA", ""))
    except ValueError as error:
        return str(error)
    return f"{isa}, {torch.get_num_threads()} threads; float32"


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    _refuse_what_does_not_fit(a)
    batch, channels, time = a.shape
    z = _empty_rows(a, batch, channels // 2, time)
    a, cond = _channels_last(a), _channels_last_or_none(cond)
    _cpu.gated_activation(*_how(), (batch, time, channels // 2), _rows(a), _rows(cond), _rows(z))
    return z


def dilated_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, padding: str
) -> Tensor:
    _refuse_what_does_not_fit(x)
    (batch, residual, time), (channels, _, taps) = x.shape, weight.shape
    y = _empty_rows(x, batch, channels, time)
    x, weight, bias = _channels_last(x), weight.contiguous(), _contiguous_or_none(bias)
    _cpu.dilated_conv1d(
        *_how(),
        (batch, time, residual, taps),
        channels,
        _rows(x),
        weight.data_ptr(),
        _address(bias),
        dilation,
        padding == "same",
        _rows(y),
    )
    return y


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> Tensor:
    _refuse_what_does_not_fit(x)
    (batch, residual, time), (channels, _, taps) = x.shape, weight.shape
    z = _empty_rows(x, batch, channels // 2, time)
    x, weight, bias = _channels_last(x), weight.contiguous(), _contiguous_or_none(bias)
    cond = _channels_last_or_none(cond)
    _cpu.gated_conv1d(
        *_how(),
        (batch, time, residual, taps),
        channels // 2,
        _rows(x),
        weight.data_ptr(),
        _address(bias),
        _rows(cond),
        dilation,
        padding == "same",
        _rows(z),
    )
    return z


def residual_block(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    residual_scale: float,
) -> tuple[Tensor, Tensor]:
    residual, skip, _ = residual_stack(
        x,
        conv_weight.unsqueeze(0),
        None if conv_bias is None else conv_bias.unsqueeze(0),
        out_weight.unsqueeze(0),
        None if out_bias is None else out_bias.unsqueeze(0),
        cond,
        [dilation],
        padding,
        residual_scale,
        last_residual=True,
        checkpoint_every=1,
        save=False,
    )
    return residual, skip


def residual_block_backward(
    grad_residual: Tensor,
    grad_skip: Tensor,
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    residual_scale: float,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    grad_x, *of_weights, grad_cond = residual_stack_backward(
        grad_residual,
        grad_skip,
        x,
        x.new_empty(0),
        conv_weight.unsqueeze(0),
        None if conv_bias is None else conv_bias.unsqueeze(0),
        out_weight.unsqueeze(0),
        None if out_bias is None else out_bias.unsqueeze(0),
        cond,
        [dilation],
        padding,
        residual_scale,
        last_residual=True,
        checkpoint_every=1,
        output_mask=output_mask,
    )
    return (grad_x, *(g.squeeze(0) if g.dim() > 1 else g for g in of_weights), grad_cond)


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
    _refuse_what_does_not_fit(x)
    batch, channels, time = x.shape
    layers = len(dilations)
    residual = _empty_rows(x, batch, channels if last_residual else 0, time)
    skip = _empty_rows(x, batch, out_weight.shape[1] - channels, time)
    kept = len(range(checkpoint_every, layers, checkpoint_every)) if save else 0
    saved = x.new_empty(kept, batch, time, channels)
    # Inputs of layers that are not saved alternate between two buffers, one of them the residual
    # output where there is one.
    unsaved = layers - 1 - kept
    scratch = [
        _empty_rows(x, batch, channels, time) if unsaved > 0 else None,
        residual
        if last_residual
        else _empty_rows(x, batch, channels, time)
        if unsaved > 1
        else None,
    ]
    stack = _Stack(x, conv_weight, conv_bias, out_weight, out_bias, cond)
    _cpu.residual_stack(
        *_how(),
        *stack.arguments(dilations, padding, residual_scale, saved),
        checkpoint_every,
        _rows(residual),
        _rows(skip),
        tuple(map(_rows, scratch)),
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
    _refuse_what_does_not_fit(x)
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    batch, channels, time = x.shape
    grad_x = _empty_rows(x, batch, channels, time)
    grad_weights = [
        torch.empty_like(w, memory_format=torch.contiguous_format)
        if w is not None and wanted
        else None
        for w, wanted in zip(weights, output_mask[1:5], strict=True)
    ]
    grad_cond = None
    if cond is not None and output_mask[5]:
        grad_cond = _empty_rows(cond, *cond.shape)
    gated = conv_weight.shape[1]
    # Local conditioning's gradient is that of the pre-activations; else those need a buffer.
    local = grad_cond is not None and grad_cond.shape[2] > 1
    grad_a = None if local else _empty_rows(x, batch, gated, time)
    grad_skip = _channels_last(grad_skip)

    grad = _channels_last(grad_residual) if last_residual else None
    for first in reversed(range(0, len(dilations), checkpoint_every)):
        part = slice(first, first + checkpoint_every)
        of_layers = slice(first * gated, (first + checkpoint_every) * gated)
        stack = _Stack(
            saved[first // checkpoint_every - 1].transpose(1, 2) if first else x,
            *(None if w is None else w[part] for w in weights),
            None if cond is None else cond[:, of_layers],
        )
        inputs = (
            stack.inputs(dilations[part], padding, residual_scale)
            if checkpoint_every > 1
            else saved
        )
        _cpu.residual_stack_backward(
            *_how(),
            *stack.arguments(dilations[part], padding, residual_scale, inputs),
            _rows(grad),
            _rows(grad_skip),
            _rows(grad_x),
            first > 0 or output_mask[0],
            _rows(grad_a),
            _rows(None if grad_cond is None else grad_cond[:, of_layers]),
            tuple(_address(None if g is None else g[part]) for g in grad_weights),
        )
        grad = grad_x
    return tuple(
        g if g is not None and wanted else x.new_empty(0)
        for g, wanted in zip((grad_x, *grad_weights, grad_cond), output_mask, strict=True)
    )


class _Stack:
    """A stack's tensors as the kernels take them: weights contiguous, channels last.

    It holds what it had to copy, for as long as the addresses are in use.
    """

    def __init__(
        self,
        x: Tensor,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        out_weight: Tensor,
        out_bias: Tensor | None,
        cond: Tensor | None,
    ) -> None:
        self.x, self.cond = _channels_last(x), _channels_last_or_none(cond)
        weights = (conv_weight, conv_bias, out_weight, out_bias)
        self.weights = [_contiguous_or_none(w) for w in weights]
        _, gated, residual, taps = conv_weight.shape
        batch, _, time = x.shape
        self.shape = (batch, time, residual, gated // 2, out_weight.shape[1] - residual, taps)

    def arguments(
        self, dilations: Sequence[int], padding: str, residual_scale: float, saved: Tensor
    ) -> tuple[Any, ...]:
        """The first arguments of the stack's kernels, forward and backward."""
        return (
            self.shape,
            list(dilations),
            padding == "same",
            residual_scale,
            _rows(self.x),
            tuple(map(_address, self.weights)),
            _rows(self.cond),
            _rows(saved[0].transpose(1, 2) if saved.numel() else None),
            saved.stride(0),
        )

    def inputs(self, dilations: Sequence[int], padding: str, residual_scale: float) -> Tensor:
        """The input of every layer but the first, computed again: (L-1, B, T, R)."""
        batch, time, residual, *_ = self.shape
        inputs = self.x.new_empty(len(dilations) - 1, batch, time, residual)
        if len(dilations) > 1:
            absent = _rows(None)
            _cpu.residual_stack(
                *_how(),
                *self.arguments(dilations[:-1], padding, residual_scale, inputs),
                1,
                _rows(inputs[-1].transpose(1, 2)),
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


def _how() -> tuple[str, int]:
    """What every kernel is told first: instruction set and number of threads."""
    return _isa(os.environ.get("WAVENET_KERNELS_CPU_ISA", "")), torch.get_num_threads()


def _refuse_what_does_not_fit(x: Tensor) -> None:
    if x.device.type != "cpu":
        raise BackendUnavailableError(
            f'the cpu backend computes on CPU tensors, not on {x.device}; use_backend("auto") '
            "picks a backend by device"
        )
    if x.dtype != torch.float32:
        raise BackendUnavailableError(
            f"the cpu backend computes in float32, not {x.dtype}; convert the tensors, or use "
            "the reference backend"
        )


def _empty_rows(like: Tensor, batch: int, channels: int, time: int) -> Tensor:
    """An uninitialised (B, C, T) tensor in the memory order of (B, T, C) rows."""
    return like.new_empty(batch, time, channels).transpose(1, 2)


def _channels_last(x: Tensor) -> Tensor:
    """(B, C, T) with channel stride 1: x itself, or a copy of it."""
    if x.stride(1) == 1 or x.shape[1] == 1:
        return x
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def _channels_last_or_none(x: Tensor | None) -> Tensor | None:
    return None if x is None else _channels_last(x)


def _contiguous_or_none(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _rows(x: Tensor | None) -> _Rows:
    """What the kernels need of a (B, C, T) tensor; a single time serves all times."""
    if x is None or x.numel() == 0:
        return (0, 0, 0)
    return (x.data_ptr(), x.stride(0), x.stride(2) if x.shape[2] > 1 else 0)
