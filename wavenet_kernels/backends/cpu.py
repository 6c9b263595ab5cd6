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
from wavenet_kernels.rows import channels_last, empty_rows, rows_of

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
    return f"{isa}, {torch.get_num_threads()} threads; float32"


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    _refuse_what_does_not_fit(a)
    batch, channels, time = a.shape
    z = empty_rows(a, batch, channels // 2, time)
    a, cond = channels_last(a), channels_last(cond)
    _cpu.gated_activation(
        *_how(), (batch, time, channels // 2), rows_of(a), rows_of(cond), rows_of(z)
    )
    return z


def dilated_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, padding: str
) -> Tensor:
    _refuse_what_does_not_fit(x)
    (batch, residual, time), (channels, _, taps) = x.shape, weight.shape
    y = empty_rows(x, batch, channels, time)
    x, weight, bias = channels_last(x), weight.contiguous(), _contiguous_or_none(bias)
    _cpu.dilated_conv1d(
        *_how(),
        (batch, time, residual, taps),
        channels,
        rows_of(x),
        weight.data_ptr(),
        _address(bias),
        dilation,
        padding == "same",
        rows_of(y),
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
    z = empty_rows(x, batch, channels // 2, time)
    x, weight, bias = channels_last(x), weight.contiguous(), _contiguous_or_none(bias)
    cond = channels_last(cond)
    _cpu.gated_conv1d(
        *_how(),
        (batch, time, residual, taps),
        channels // 2,
        rows_of(x),
        weight.data_ptr(),
        _address(bias),
        rows_of(cond),
        dilation,
        padding == "same",
        rows_of(z),
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
    stack = _Stack(x, conv_weight, conv_bias, out_weight, out_bias, cond)
    _cpu.residual_stack(
        *_how(),
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
    _refuse_what_does_not_fit(x)
    batch, channels, time = x.shape
    gated = conv_weight.shape[1]
    grad_x = empty_rows(x, batch, channels, time)
    grad_weights = [
        None if weight is None or not wanted else weight.new_empty(weight.shape)
        for weight, wanted in zip(
            (conv_weight, conv_bias, out_weight, out_bias), output_mask[1:5], strict=True
        )
    ]
    grad_cond = empty_rows(cond, *cond.shape) if cond is not None and output_mask[5] else None
    # Local conditioning's gradient is that of the pre-activations; else those need a buffer.
    local = grad_cond is not None and time > 1 and grad_cond.shape[2] == time
    grad_a = None if local else empty_rows(x, batch, gated, time)
    grad_skip = channels_last(grad_skip)

    grad = channels_last(grad_residual) if last_residual else None
    # With every input saved one call does; else a call for each part that starts with a saved one.
    size = len(dilations) if checkpoint_every == 1 else checkpoint_every
    for first in reversed(range(0, len(dilations), size)):
        part = slice(first, first + size)
        of_part = slice(first * gated, (first + size) * gated)
        stack = _Stack(
            saved[first // checkpoint_every - 1].transpose(1, 2) if first else x,
            conv_weight[part],
            None if conv_bias is None else conv_bias[part],
            out_weight[part],
            None if out_bias is None else out_bias[part],
            None if cond is None else cond[:, of_part],
        )
        inputs = saved.contiguous()
        if checkpoint_every > 1:
            inputs = stack.inputs(dilations[part], padding, residual_scale)
        _cpu.residual_stack_backward(
            *_how(),
            *stack.arguments(dilations[part], padding, residual_scale, inputs),
            rows_of(grad),
            rows_of(grad_skip),
            rows_of(grad_x),
            first > 0 or output_mask[0],
            rows_of(grad_a),
            rows_of(None if grad_cond is None else grad_cond[:, of_part]),
            tuple(_address(None if g is None else g[part]) for g in grad_weights),
        )
        grad = grad_x
    return tuple(
        gradient if gradient is not None and wanted else x.new_empty(0)
        for gradient, wanted in zip((grad_x, *grad_weights, grad_cond), output_mask, strict=True)
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
        self.x, self.cond = channels_last(x), channels_last(cond)
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
            rows_of(self.x),
            tuple(map(_address, self.weights)),
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
                *_how(),
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


def _contiguous_or_none(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
