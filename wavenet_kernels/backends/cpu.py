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
from typing import Any

# torch before the compiled module: it loads the OpenMP runtime that both then share.
import torch
from torch import Tensor

from wavenet_kernels.backends.contract import Again, Configuration
from wavenet_kernels.call import COMMON_SETTINGS, Call, Gradients, Outputs, astuple
from wavenet_kernels.rows import address_of, empty_rows, is_in_rows, rows_of

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


def forward(call: Call, outputs: Outputs) -> Again:
    again = _Forward(call, outputs)
    again(astuple(call.tensors), outputs.astuple())
    return again


def backward(call: Call, gradients: Outputs, outputs: Gradients) -> Again:
    again = _Backward(call, gradients, outputs)
    again((*astuple(call.tensors), *gradients.astuple()), astuple(outputs))
    return again


_WEIGHTS = range(1, 5)  # among the fields of `Tensors`, and of `Gradients`
_KEPT = range(9, 11)  # `saved` and `gates`, among those of `Tensors` and then of `Outputs`


class _Pass:
    """A pass over tensors that lie as those of a call do: from one to the next addresses change.

    Weights are given to the kernels contiguous and real, and so are their gradients written.
    """

    _kernels: Any

    def __init__(self, call: Call, given: Sequence[Tensor | None]) -> None:
        self._dtype = call.tensors.x.dtype
        self._copies = any(
            not tensor.is_contiguous() or (index in _WEIGHTS and tensor.dtype != _real(self._dtype))
            for index, tensor in enumerate(given)
            if tensor is not None and (index in _WEIGHTS or index in _KEPT)
        )

    def __call__(self, given: Sequence[Tensor | None], made: Sequence[Tensor | None]) -> None:
        computed = made
        if self._copies:
            given, computed = self._readable(given), self._writable(made)
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in (*given, *computed)]
        self._kernels(_execution(self._dtype), *addresses)
        if computed is not made:
            for output, result in zip(made, computed, strict=True):
                if output is not None and result is not None and result is not output:
                    output.copy_(result)

    def _readable(self, given: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Weights, and what the forward pass kept, as kernels have them."""
        readable = list(given)
        for index, tensor in enumerate(given):
            if tensor is not None and index in _WEIGHTS:
                readable[index] = tensor.to(_real(self._dtype)).contiguous()
            elif tensor is not None and index in _KEPT:
                readable[index] = tensor.contiguous()
        return readable

    def _writable(self, made: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return made


class _Forward(_Pass):
    def __init__(self, call: Call, outputs: Outputs) -> None:
        super().__init__(call, astuple(call.tensors))
        self._kernels = _cpu.ForwardPass(
            _described(call),
            y=rows_of(outputs.y),
            residual=rows_of(outputs.residual),
            skip=rows_of(outputs.skip),
            checkpoint_every=call.settings.checkpoint_every,
        )


class _Backward(_Pass):
    def __init__(self, call: Call, gradients: Outputs, outputs: Gradients) -> None:
        super().__init__(call, (*astuple(call.tensors), *gradients.astuple()))
        self._kernels = _cpu.BackwardPass(
            _described(call),
            grad_y=rows_of(gradients.y),
            grad_residual=rows_of(gradients.residual),
            grad_skip=rows_of(gradients.skip),
            grad_x=rows_of(outputs.x),
            grad_cond=rows_of(outputs.cond),
        )

    def _writable(self, made: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        writable, real = list(made), _real(self._dtype)
        for index in _WEIGHTS:
            gradient = made[index]
            if gradient is not None and gradient.dtype != real:
                writable[index] = gradient.new_empty(gradient.shape, dtype=real)
        return writable


def _described(call: Call) -> Any:
    """A call for the compiled module, which holds none of its tensors."""
    tensors, settings, sizes = call.tensors, call.settings, call.sizes
    convolution = tensors.conv_weight
    return _cpu.Call(
        operator=call.operator,
        B=sizes.B,
        T=sizes.T,
        R=sizes.R,
        C=tensors.x.shape[1] if convolution is None else convolution.shape[1],
        S=sizes.S,
        K=max(sizes.K, 1),
        dilations=settings.dilations or (1,),
        same_padding=settings.padding == "same",
        residual_scale=settings.residual_scale,
        **tensors.for_kernels(),
    )


class _CpuStream:
    """The compiled stream and the outputs of its last step, which the next of that size reuses."""

    def __init__(self, call: Call) -> None:
        sizes = call.sizes
        self._like = call.tensors.x.new_empty(0)
        self._batch, self._channels = sizes.B, (sizes.R, sizes.S)
        real = _real(call.tensors.x.dtype)
        # Held until they are packed.
        tensors = call.tensors.map(lambda tensor: tensor.to(real).contiguous())
        tensors = replace(tensors, x=call.tensors.x)  # whose dtype is the stream's
        execution = _execution(call.tensors.x.dtype)
        self._kernels = _cpu.Stream(execution, _described(replace(call, tensors=tensors)))
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


def _in_rows(x: Tensor | None) -> Tensor | None:
    """(B, C, T) with channel stride 1: x itself, or a copy."""
    if x is None or is_in_rows(x):
        return x
    (batch, channels, time), rows = x.shape, empty_rows(x, *x.shape)
    if x.numel():
        _cpu.copy_rows(
            _execution(x.dtype), B=batch, T=time, C=channels, from_=rows_of(x), to=rows_of(rows)
        )
    return rows


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


def _execution(dtype: torch.dtype) -> Any:
    """How a call on tensors of that dtype is computed now."""
    configuration = _configuration.get()
    isa = _isa(configuration.get("isa") or _cpu.variable("WAVENET_KERNELS_CPU_ISA") or "")
    fast = configuration.get("fast")
    if fast is None:
        fast = _cpu.variable("WAVENET_KERNELS_CPU_FAST")
    return _make_execution(isa, torch.get_num_threads(), dtype, "1" if fast is None else fast)


def _real(dtype: torch.dtype) -> torch.dtype:
    """The type that weights are in, and sums, where activations are of that dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32
