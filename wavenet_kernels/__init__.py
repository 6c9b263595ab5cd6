"""Fused, differentiable PyTorch operators for WaveNet-style networks.

Tensors are PyTorch's (B, C, T); results come back in the memory order of (B, T, C) rows, so that
a chain of these operators never transposes.
"""

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
