"""The backend of the C++ kernels in csrc/cpu: float32 on CPUs, any shape, all of torch's threads.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and any other one is copied once. WAVENET_KERNELS_CPU_ISA
(portable, avx2 or avx512) forces the instruction set, otherwise the best one here is taken.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

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
    return f"{isa}, {torch.get_num_threads()} threads; float32, forward"


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
    batch, residual_channels, time = x.shape
    layers, gated, _, taps = conv_weight.shape
    skip_channels = out_weight.shape[1] - residual_channels

    residual = _empty_rows(x, batch, residual_channels if last_residual else 0, time)
    skip = _empty_rows(x, batch, skip_channels, time)
    kept = len(range(checkpoint_every, layers, checkpoint_every)) if save else 0
    saved = x.new_empty(kept, batch, time, residual_channels)
    # Inputs of layers that are not saved alternate between two buffers, one of them the residual
    # output where there is one.
    unsaved = layers - 1 - kept
    scratch = [
        _empty_rows(x, batch, residual_channels, time) if unsaved > 0 else None,
        residual
        if last_residual
        else _empty_rows(x, batch, residual_channels, time)
        if unsaved > 1
        else None,
    ]

    x, cond = _channels_last(x), _channels_last_or_none(cond)
    conv_weight, out_weight = conv_weight.contiguous(), out_weight.contiguous()
    conv_bias, out_bias = _contiguous_or_none(conv_bias), _contiguous_or_none(out_bias)
    _cpu.residual_stack(
        *_how(),
        (batch, time, residual_channels, gated // 2, skip_channels, taps),
        list(dilations),
        padding == "same",
        residual_scale,
        _rows(x),
        conv_weight.data_ptr(),
        _address(conv_bias),
        out_weight.data_ptr(),
        _address(out_bias),
        _rows(cond),
        _rows(residual),
        _rows(skip),
        tuple(map(_rows, scratch)),
        _rows(saved[0].transpose(1, 2) if kept else None),
        saved.stride(0),
        checkpoint_every,
    )
    return residual, skip, saved


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
