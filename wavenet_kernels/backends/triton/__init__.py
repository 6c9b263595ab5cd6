"""The backend of Triton kernels, for every GPU that Triton compiles for.

triton is imported on the first call, not with this module: it is optional at run time.
With TRITON_INTERPRET=1 the kernels run in Triton's interpreter, on CPU tensors too.
"""

from __future__ import annotations

import functools
import importlib.util
import os

import torch
from torch import Tensor

from wavenet_kernels.errors import BackendUnavailableError

NAME = "triton"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@functools.cache
def unavailable() -> str | None:
    """Why Triton kernels can't run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    if not (_interpreted() or torch.cuda.is_available() or torch.xpu.is_available()):
        return "no GPU that Triton supports (TRITON_INTERPRET=1 runs its interpreter instead)"
    return None


def describe() -> str:
    import triton

    where = "its interpreter" if _interpreted() else "compiled on first use"
    return f"triton {triton.__version__}, {where}; gated_activation only so far"


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    from wavenet_kernels.backends.triton import gate

    _refuse_what_does_not_fit(a)
    return gate.forward(a, cond)


def gated_activation_backward(grad: Tensor, a: Tensor, cond: Tensor | None) -> Tensor:
    from wavenet_kernels.backends.triton import gate

    _refuse_what_does_not_fit(a)
    return gate.backward(grad, a, cond)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def _refuse_what_does_not_fit(a: Tensor) -> None:
    if a.dtype not in _DTYPES:
        raise BackendUnavailableError(
            f"the triton backend computes in float32, bfloat16 and float16, not {a.dtype}; "
            "the reference backend does"
        )
    if a.device.type not in ("cuda", "xpu") and not _interpreted():
        raise BackendUnavailableError(
            f"the triton backend needs tensors on a GPU; these are on {a.device}, where the cpu "
            "and reference backends work"
        )
