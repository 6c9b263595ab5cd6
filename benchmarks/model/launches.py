"""What a backend launches for a pass, taken over on its way to a device that isn't there."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from cuda_machine_code import launches_taken_over
from executor import Launch
from torch.utils._python_dispatch import TorchDispatchMode
from triton_machine_code import CompilingLauncher

from benchmarks.model.assumptions import MULTIPROCESSORS
from benchmarks.operators.workloads import Workload
from wavenet_kernels.backends import cuda, triton
from wavenet_kernels.backends.triton.launcher import use_launcher
from wavenet_kernels.call import Call, Settings, Tensors

BACKENDS = {"cuda": cuda, "triton": triton}
ARCH = 90
ALIGNMENT = 512  # bytes, of a tensor that torch's allocator makes on a GPU
_HOT_BYTES = 2 << 20  # tensors up to this size, such as weights, are taken for being in L2
_ADDRESSES = range(0x5500 << 32, 0x8000 << 32)  # of a process on Linux

Take = Callable[[Launch, list[tuple[int, int]]], None]  # with addresses that L2 has


@dataclass(frozen=True)
class Pass:
    """A pass of a residual stack by a backend.

    direction: "forward", which keeps what backward needs; "inference", which doesn't; or
    "backward", that alone, with all gradients.
    """

    backend: str
    workload: Workload
    direction: str
    dtype: torch.dtype

    def run(self, take: Take) -> None:
        """The host's part; launches go to `take`, and tensors may be gone when it is back."""
        with AlignedTensors() as memory:
            call = _call(self.workload, self.dtype)
            backend = BACKENDS[self.backend]
            outputs = call.empty_outputs(saving=self.direction != "inference").present()
            with _TAKEN_OVER[self.backend](lambda launch: take(launch, memory.small)):
                if reason := backend.supports(call):
                    raise ValueError(f"{self.backend} {reason}")
                if self.direction == "backward":
                    gradients = call.empty_gradients([True] * 5 + [False])
                    backend.backward(call, outputs, gradients)
                else:
                    backend.forward(call, outputs)


def signature(launch: Launch) -> tuple[Any, ...]:
    """Equal for launches that differ in where their tensors are, and in nothing else."""
    whole = len(launch.parameters) // 8
    words = struct.unpack(f"<{whole}Q", launch.parameters[: 8 * whole])
    kept = tuple(0 if word in _ADDRESSES else word for word in words)
    rest = launch.parameters[8 * whole :]
    return launch.name, launch.grid, launch.threads, launch.shared_bytes, kept, rest


class AlignedTensors(TorchDispatchMode):
    """New tensors lie as on a GPU, so that accesses take as many lines as there.

    `small`: addresses, first and last, of those that are taken for being in L2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.small: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        new = all(result.alias_info is None for result in func._schema.returns)
        if not new or not isinstance(made, torch.Tensor) or made.numel() == 0:
            return made
        size = made.untyped_storage().nbytes()
        room = torch.zeros(size + ALIGNMENT, dtype=torch.uint8)  # no memory until it is written
        start = -room.data_ptr() % ALIGNMENT
        whole = room[start : start + size].view(made.dtype)
        if size <= _HOT_BYTES:
            self.small.append((whole.data_ptr(), whole.data_ptr() + size - 1))
        moved = whole.as_strided(made.shape, made.stride(), whole.storage_offset())
        return moved if func.overloadpacket in _EMPTY else moved.copy_(made)


_NAMES = ("empty", "empty_strided", "new_empty", "new_empty_strided", "zeros", "new_zeros")
_EMPTY = {getattr(torch.ops.aten, name) for name in _NAMES}


def _call(workload: Workload, dtype: torch.dtype) -> Call:
    w = workload
    layers, gated, out = len(w.dilations), 2 * w.dilation_channels, w.residual + w.skip
    tensors = Tensors(
        torch.zeros(w.batch, w.time, w.residual, dtype=dtype).transpose(1, 2),
        torch.zeros(layers, gated, w.residual, w.taps, dtype=dtype),
        torch.zeros(layers, gated, dtype=dtype),
        torch.zeros(layers, out, w.dilation_channels, dtype=dtype),
        torch.zeros(layers, out, dtype=dtype),
    )
    return Call("residual_stack", tensors, Settings(w.dilations, w.padding))


@contextmanager
def _cuda(take: Callable[[Launch], None]) -> Iterator[None]:
    variables = {"WAVENET_SIMT_MULTIPROCESSORS": str(MULTIPROCESSORS)}
    with mock.patch.dict(os.environ, variables), launches_taken_over(f"sm_{ARCH}a", take):
        yield


@contextmanager
def _triton(take: Callable[[Launch], None]) -> Iterator[None]:
    launcher = CompilingLauncher(ARCH, MULTIPROCESSORS)
    with mock.patch.object(launcher, "take", take), use_launcher(launcher):
        yield


_TAKEN_OVER = {"cuda": _cuda, "triton": _triton}
