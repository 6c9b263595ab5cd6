"""Fused, differentiable PyTorch operators for WaveNet-style networks.

Tensors are PyTorch's (B, C, T); results come back in the memory order of (B, T, C) rows, so that
a chain of these operators never transposes.
"""

from types import ModuleType

from wavenet_kernels.backends import available_backends, use_backend
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.ops import (
    dilated_conv1d,
    gated_activation,
    gated_conv1d,
    residual_block,
    residual_stack,
    residual_stack_stream,
)

__version__ = "0.1.0"

__all__ = [
    "BackendUnavailableError",
    "available_backends",
    "dilated_conv1d",
    "gated_activation",
    "gated_conv1d",
    "residual_block",
    "residual_stack",
    "residual_stack_stream",
    "use_backend",
]


def __getattr__(name: str) -> ModuleType:
    """The parts that are loaded when they are first asked for, by attribute as by import."""
    # Programs that freeze applications follow import statements, and no name that is computed.
    match name:
        case "calibration":
            import wavenet_kernels.calibration as calibration

            return calibration
        case "decompositions":
            import wavenet_kernels.decompositions as decompositions

            return decompositions
        case "nn":
            import wavenet_kernels.nn as nn

            return nn
        case "reference":
            import wavenet_kernels.reference as reference

            return reference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
