"""The backend of the CUDA C++ kernels in csrc/cuda: float32, bfloat16 and float16 on NVIDIA GPUs.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and any other one is copied once. They run on torch's current
stream of the tensors' device.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.rows import channels_last, empty_rows, rows_of

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
    return f"{_built_for()}; gated_activation"


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    _refuse_what_does_not_fit(a)
    batch, channels, time = a.shape
    z = empty_rows(a, batch, channels // 2, time)
    a, cond = channels_last(a), channels_last(cond)
    shape = (batch, time, channels // 2)
    _cuda.gated_activation(*_how(a), shape, rows_of(a), rows_of(cond), rows_of(z))
    return z


def gated_activation_backward(grad: Tensor, a: Tensor, cond: Tensor | None) -> Tensor:
    _refuse_what_does_not_fit(a)
    batch, channels, time = a.shape
    grad_a = empty_rows(a, batch, channels, time)
    grad, a = channels_last(grad), channels_last(a)
    cond = channels_last(cond)
    shape = (batch, time, channels // 2)
    _cuda.gated_activation_backward(
        *_how(a), shape, rows_of(grad), rows_of(a), rows_of(cond), rows_of(grad_a)
    )
    return grad_a


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
    if x.device.type != "cuda":
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


def _how(x: Tensor) -> tuple[int, int, str]:
    """What every kernel is told first: device, stream and dtype."""
    stream: int = torch.cuda.current_stream(x.device).cuda_stream
    return x.device.index, stream, _DTYPES[x.dtype]
