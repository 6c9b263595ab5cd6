"""The backend of the C++ kernels in csrc/cpu: any shape and dtype on CPUs, all of torch's threads.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides; others are copied once, but for what a bare gate reads.
bfloat16 and float16 activations are computed on in float32, with weights that were converted; but
where the processor multiplies bfloat16 (AVX512-BF16, and AMX in tiles), the factors of products are
bfloat16 and their sums float32. WAVENET_KERNELS_CPU_ISA (portable, avx2, avx512 or amx, which is
avx512 but for bfloat16) forces the instruction set,
otherwise the best one here is taken. WAVENET_KERNELS_CPU_FAST=0 makes convolutions of two and three
taps plain sums of products; by default they take a quarter and a third fewer multiplications
(csrc/cpu/fast.h), but for layers with weights that are exactly zero, whose terms are to be exactly
zero, and for products of bfloat16.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from types import MappingProxyType
from typing import Any, overload

# torch before the compiled module: it loads the OpenMP runtime that both then share.
import torch
from torch import Tensor

from wavenet_kernels.backends.contract import Configuration
from wavenet_kernels.call import COMMON_SETTINGS, Call, Gradients, Outputs, Tensors
from wavenet_kernels.rows import address_of, empty_rows, is_in_rows, rows_of, rows_of_saved

_missing: str | None = None
try:
    import wavenet_kernels._cpu as _cpu
except ImportError as error:
    _missing = f"its compiled module can't be loaded ({error}); `pip install .` builds it"

SETTINGS = COMMON_SETTINGS


def unavailable() -> str | None:
    """Why this backend can't work on this machine, or None."""
    return _missing


def describe() -> str:
    """The instruction set in use and the number of threads."""
    try:
        isa = _isa(os.environ.get("WAVENET_KERNELS_CPU_ISA", ""))
    except ValueError as error:
        return str(error)
    products = " with products of bfloat16" if isa in _multiply_bfloat16() else ""
    if isa == "amx":
        products += " in tiles (tested by emulating them; WAVENET_KERNELS_CPU_ISA=avx512: without)"
    return f"{isa}{products}, {torch.get_num_threads()} threads"


def supports(call: Call) -> str | None:
    """It computes whatever is on a CPU."""
    device = call.tensors.x.device
    if device.type == "cpu":
        return None
    return (
        f'computes on CPU tensors, not on {device}; use_backend("auto") picks a backend by device'
    )


def forward(call: Call, outputs: Outputs) -> None:
    prepared = _Prepared(call)
    saved, saved_stride = rows_of_saved(outputs.saved)
    scratch = _scratch(call, outputs)
    _cpu.forward(
        prepared.call,
        y=rows_of(outputs.y),
        residual=rows_of(outputs.residual),
        skip=rows_of(outputs.skip),
        saved=saved,
        saved_stride=saved_stride,
        checkpoint_every=call.settings.checkpoint_every,
        gates=address_of(outputs.gates),
        scratch=tuple(map(rows_of, scratch)),
    )


def backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    prepared = _Prepared(call)
    y = gradients.y if call.operator == "gated_activation" else _in_rows(gradients.y)
    residual, skip = _in_rows(gradients.residual), _in_rows(gradients.skip)
    inputs = None if gradients.saved is None else gradients.saved.contiguous()
    saved, saved_stride = rows_of_saved(inputs)
    gates = None if gradients.gates is None else gradients.gates.contiguous()
    # It holds the gradients of later layers' inputs as well.
    grad_x = outputs.x
    if grad_x is None and len(call.settings.dilations) > 1:
        grad_x = empty_rows(call.tensors.x, *call.tensors.x.shape)
    weights = [_empty_as_real(gradient) for gradient in outputs.weights()]
    grad_conv_weight, grad_conv_bias, grad_out_weight, grad_out_bias = map(address_of, weights)
    _cpu.backward(
        prepared.call,
        grad_y=rows_of(y),
        grad_residual=rows_of(residual),
        grad_skip=rows_of(skip),
        saved=saved,
        saved_stride=saved_stride,
        gates=address_of(gates),
        grad_x=rows_of(grad_x),
        want_x=outputs.x is not None,
        grad_conv_weight=grad_conv_weight,
        grad_conv_bias=grad_conv_bias,
        grad_out_weight=grad_out_weight,
        grad_out_bias=grad_out_bias,
        grad_cond=rows_of(outputs.cond),
    )
    for output, computed in zip(outputs.weights(), weights, strict=True):
        if output is not None and computed is not None and computed is not output:
            output.copy_(computed)


class _CpuStream:
    """The compiled stream and the outputs of its last step, which the next of that size reuses."""

    def __init__(self, call: Call) -> None:
        sizes = call.sizes
        self._like = call.tensors.x.new_empty(0)
        self._batch, self._channels = sizes.B, (sizes.R, sizes.S)
        prepared = _Prepared(call)  # holds the weights until they are packed
        self._kernels = _cpu.Stream(prepared.call)
        self._time = 0
        self._outputs: tuple[Tensor, Tensor]

    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        time = x.shape[2]
        if time != self._time:
            residual, skip = (
                empty_rows(self._like, self._batch, channels, time) for channels in self._channels
            )
            self._outputs, self._time = (residual, skip), time
            self._rows = rows_of(residual), rows_of(skip)
        cond = _in_rows(cond)
        residual_rows, skip_rows = self._rows
        self._kernels.step(
            T=time,
            x=rows_of(x),
            cond=rows_of(cond),
            residual=residual_rows,
            skip=skip_rows,
            threads=torch.get_num_threads(),
        )
        return self._outputs

    def reset(self) -> None:
        self._kernels.reset()

    def state(self) -> Tensor:
        state = self._like.new_empty(self._batch, self._kernels.state_rows(), self._channels[0])
        self._kernels.store_state(state.data_ptr())
        return state

    def load_state(self, state: Tensor) -> None:
        state = state.contiguous()
        self._kernels.load_state(state.data_ptr())


def stream(call: Call) -> _CpuStream:
    return _CpuStream(replace(call, operator="residual_stack"))


class QuantizedStream:
    """The compiled stream in int8 of one signal.

    Weights come as (numbers, scales): (L, 2D, R, K) and (L, R+S, D), with (L, 2D) and (L, R+S).
    """

    def __init__(
        self,
        conv: tuple[Tensor, Tensor],
        conv_bias: Tensor | None,
        out: tuple[Tensor, Tensor],
        out_bias: Tensor | None,
        dilations: Sequence[int],
        residual_scale: float,
    ) -> None:
        _, width, self.residual_channels, taps = conv[0].shape
        self._skip_channels = out[0].shape[1] - self.residual_channels
        biases = [
            None if b is None else b.detach().float().contiguous() for b in (conv_bias, out_bias)
        ]
        held = [tensor.contiguous() for tensor in (*conv, *out)]  # until they are packed
        self._kernels = _cpu.QuantizedStream(
            isa=_isa(os.environ.get("WAVENET_KERNELS_CPU_ISA", "")),
            R=self.residual_channels,
            D=width // 2,
            S=self._skip_channels,
            K=taps,
            dilations=tuple(dilations),
            residual_scale=residual_scale,
            conv_weight=address_of(held[0]),
            conv_scale=address_of(held[1]),
            conv_bias=address_of(biases[0]),
            out_weight=address_of(held[2]),
            out_scale=address_of(held[3]),
            out_bias=address_of(biases[1]),
        )

    def step(self, x: Tensor) -> Tensor:
        """(1, R, T) -> the skip sum (1, S, T)."""
        rows = x[0].t().clone(memory_format=torch.contiguous_format)  # the kernels work on it
        skip = rows.new_empty(len(rows), self._skip_channels)
        self._kernels.step(T=len(rows), rows=rows.data_ptr(), skip=skip.data_ptr())
        return skip.t().unsqueeze(0)

    def reset(self) -> None:
        self._kernels.reset()


class _Prepared:
    """A call as the kernels take it: weights contiguous and real, conditioning channels last.

    It holds what it had to copy, for as long as the addresses are in use.
    """

    def __init__(self, call: Call) -> None:
        tensors, settings, sizes = call.tensors, call.settings, call.sizes
        x = tensors.x if call.operator == "gated_activation" else _in_rows(tensors.x)
        real = _real(x.dtype)
        conv_weight, conv_bias, out_weight, out_bias = (
            None if weight is None else weight.to(real).contiguous() for weight in tensors.weights()
        )
        cond = _in_rows(tensors.cond)
        held = Tensors(x, conv_weight, conv_bias, out_weight, out_bias, cond)
        self._held = held
        convolution = held.conv_weight
        self.call: Any = _cpu.Call(
            execution=_execution(x),
            operator=call.operator,
            B=sizes.B,
            T=sizes.T,
            R=sizes.R,
            C=x.shape[1] if convolution is None else convolution.shape[1],
            S=sizes.S,
            K=max(sizes.K, 1),
            dilations=settings.dilations or (1,),
            same_padding=settings.padding == "same",
            residual_scale=settings.residual_scale,
            x=rows_of(held.x),
            conv_weight=address_of(held.conv_weight),
            conv_bias=address_of(held.conv_bias),
            out_weight=address_of(held.out_weight),
            out_bias=address_of(held.out_bias),
            cond=rows_of(held.cond),
        )


@overload
def _in_rows(x: Tensor) -> Tensor: ...
@overload
def _in_rows(x: Tensor | None) -> Tensor | None: ...
def _in_rows(x: Tensor | None) -> Tensor | None:
    """(B, C, T) with channel stride 1: x itself, or a copy."""
    if x is None or is_in_rows(x):
        return x
    (batch, channels, time), rows = x.shape, empty_rows(x, *x.shape)
    if x.numel():
        _cpu.copy_rows(
            _execution(x), B=batch, T=time, C=channels, from_=rows_of(x), to=rows_of(rows)
        )
    return rows


def _scratch(call: Call, outputs: Outputs) -> tuple[Tensor | None, Tensor | None]:
    """Inputs of layers that are not saved alternate between two buffers.

    One of them is the residual output, where there is one.
    """
    kept = 0 if outputs.saved is None else len(outputs.saved)
    unsaved = len(call.settings.dilations) - 1 - kept

    def make() -> Tensor:
        return empty_rows(call.tensors.x, *call.tensors.x.shape)

    first = make() if unsaved > 0 else None
    second = outputs.residual
    return first, make() if second is None and unsaved > 1 else second


@functools.cache
def _isa(forced: str) -> str:
    """The instruction set to use; `forced` is WAVENET_KERNELS_CPU_ISA, empty when not set."""
    try:
        isa: str = _cpu.find_isa(forced)
    except ValueError as error:
        raise ValueError(f"WAVENET_KERNELS_CPU_ISA: {error}") from None
    return isa


@functools.cache
def _multiply_bfloat16() -> frozenset[str]:
    """The instruction sets whose products of bfloat16 activations are of bfloat16 here."""
    return frozenset(_cpu.build_info()["multiply_bfloat16"])


@functools.cache
def _make_execution(isa: str, threads: int, dtype: torch.dtype, fast: str) -> Any:
    if fast not in ("0", "1"):
        raise ValueError(f"WAVENET_KERNELS_CPU_FAST is {fast!r}; accepted are 0 and 1")
    name = str(dtype).removeprefix("torch.")
    return _cpu.Execution(isa=isa, threads=threads, dtype=name, fast=fast == "1")


# What calibration found to be better than the defaults: "isa", "fast", as the variables are set.
_configuration: ContextVar[Configuration] = ContextVar(
    "configuration", default=MappingProxyType({})
)


def configurations(call: Call) -> list[Configuration]:
    """Plain sums, and AVX2 where AVX-512 would be taken; none where the variables say.

    Where bfloat16 would be multiplied in tiles, AVX-512 without them too.
    """
    ways: list[Configuration] = []
    plain = call.operator == "gated_activation" or call.sizes.K not in (2, 3)
    if call.tensors.x.dtype == torch.bfloat16:
        plain |= _isa(os.environ.get("WAVENET_KERNELS_CPU_ISA", "")) in _multiply_bfloat16()
    if not plain and "WAVENET_KERNELS_CPU_FAST" not in os.environ:
        ways.append({"fast": "0"})
    if "WAVENET_KERNELS_CPU_ISA" not in os.environ and _isa("") in ("amx", "avx512"):
        if call.tensors.x.dtype == torch.bfloat16 and _isa("") == "amx":
            ways.append({"isa": "avx512"})
        ways.append({"isa": "avx2"})
    return ways


@contextlib.contextmanager
def configured(configuration: Configuration) -> Iterator[None]:
    token = _configuration.set(configuration)
    try:
        yield
    finally:
        _configuration.reset(token)


def _execution(x: Tensor) -> Any:
    """How a call on tensors like x is computed now."""
    configuration = _configuration.get()
    isa = _isa(configuration.get("isa") or os.environ.get("WAVENET_KERNELS_CPU_ISA", ""))
    fast = configuration.get("fast") or os.environ.get("WAVENET_KERNELS_CPU_FAST", "1")
    return _make_execution(isa, torch.get_num_threads(), x.dtype, fast)


def _empty_as_real(gradient: Tensor | None) -> Tensor | None:
    """The gradient itself where the kernels can write to it."""
    if gradient is None or gradient.dtype == _real(gradient.dtype):
        return gradient
    return gradient.new_empty(gradient.shape, dtype=_real(gradient.dtype))


def _real(dtype: torch.dtype) -> torch.dtype:
    """The type that weights are in, and sums, where activations are of that dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32
