"""What every launch needs: who computes how, where, and the rows of tensors."""

from __future__ import annotations

import functools
import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


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
def architecture(device: torch.device) -> str:
    """As the tuning table names it: "sm_90", or "other"."""
    if device.type == "cuda" and torch.version.cuda is not None:
        major, minor = torch.cuda.get_device_capability(device)
        return f"sm_{major}{minor}"
    return "other"


@functools.cache
def processors(device: torch.device) -> int:
    """Streaming multiprocessors, or what the device has of their kind."""
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


def how(x: Tensor) -> dict[str, object]:
    """PRECISION and HARDWARE_TANH for a call on tensors like x.

    float32 products are IEEE unless torch is set to allow TF32, which NVIDIA's chips have. Their
    tanh is exact to 2^-11, enough for 16-bit results; the interpreter is made as exact.
    """
    half = x.dtype != torch.float32
    nvidia = x.device.type == "cuda" and torch.version.cuda is not None
    tf32 = nvidia and not half and _tf32_is_allowed()
    return {
        "PRECISION": "tf32" if tf32 else "ieee",
        "HARDWARE_TANH": half and (nvidia or interpreted()),
    }


def batch_and_time(x: Tensor | None) -> tuple[int, int]:
    """Strides of a (B, C, T) tensor with channel stride 1; a single time serves all times."""
    if x is None:
        return 0, 0
    return x.stride(0), x.stride(2) if x.shape[2] > 1 else 0
