"""Launching kernels: where, with what settings, and by whom.

What the backend must know of a device, and every launch, goes through the `Launcher` in force.
Whoever wants to record launches, compile them for another chip or try other settings derives one of
their own and puts it in force by `use_launcher`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels.backends.triton import tuning


class Launcher:
    """Launches kernels on the devices that there are."""

    def unavailable(self) -> str | None:
        """Why there is nothing to launch on, or None."""
        if interpreted() or torch.cuda.is_available() or torch.xpu.is_available():
            return None
        return "no GPU that Triton supports (TRITON_INTERPRET=1 runs its interpreter instead)"

    def accepts(self, device: torch.device) -> bool:
        """Whether kernels can be launched on tensors there."""
        return device.type in ("cuda", "xpu") or interpreted()

    def architecture(self, device: torch.device) -> str:
        """As the tuning table names it: "sm_90", or "other"."""
        return _architecture(device)

    def processors(self, device: torch.device) -> int:
        """Streaming multiprocessors, or what the device has of their kind."""
        return _processors(device)

    def configure(self, kernel: str, like: Tensor, **sizes: int) -> tuning.Config:
        """Block sizes, warps and stages for a launch on tensors like this one."""
        config = tuning.choose(kernel, self.architecture(like.device), like.dtype, **sizes)
        changes = tuning.changes(kernel)
        return {**config, **changes} if changes else config

    def numerics(self, like: Tensor) -> dict[str, object]:
        """PRECISION and HARDWARE_TANH for a launch on tensors like this one.

        float32 products are IEEE unless torch is set to allow TF32, which NVIDIA's chips have.
        Their tanh is exact to 2^-11, enough for 16-bit results; the interpreter is made as exact.
        """
        half = like.dtype != torch.float32
        nvidia = like.device.type == "cuda" and torch.version.cuda is not None
        tf32 = nvidia and not half and _tf32_is_allowed()
        return {
            "PRECISION": "tf32" if tf32 else "ieee",
            "HARDWARE_TANH": half and (nvidia or interpreted()),
        }

    def bind(self, kernel: Any, grid: tuple[int, ...]) -> Callable[..., object]:
        """What launches as many programs of the kernel when called with its arguments."""
        launch: Callable[..., object] = kernel[grid]
        return launch


_in_force = Launcher()


def current_launcher() -> Launcher:
    """The one in force."""
    return _in_force


@contextmanager
def use_launcher(launcher: Launcher) -> Iterator[None]:
    """Launch by this one until the end of the block, in the whole process."""
    global _in_force
    before, _in_force = _in_force, launcher
    try:
        yield
    finally:
        _in_force = before


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Kernels are launched on torch's current device: make it that of x."""
    if x.device.type == "cuda":
        return torch.cuda.device(x.device)
    if x.device.type == "xpu":
        return torch.xpu.device(x.device)
    return nullcontext()


@functools.cache
def _architecture(device: torch.device) -> str:
    if device.type == "cuda" and torch.version.cuda is not None:
        major, minor = torch.cuda.get_device_capability(device)
        return f"sm_{major}{minor}"
    return "other"


@functools.cache
def _processors(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).multi_processor_count
    if device.type == "xpu":
        return torch.xpu.get_device_properties(device).gpu_subslice_count
    return 4


def _tf32_is_allowed() -> bool:
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # torch 2.9; it refuses to be asked both ways
        return str(matmul.fp32_precision) == "tf32"
    return torch.get_float32_matmul_precision() != "highest"
