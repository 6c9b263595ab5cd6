"""Layers of WaveNet-style networks over the fused operators: torch.nn modules, and streams."""

from wavenet_kernels.nn.convolution import CausalConv1d, GatedConv1d
from wavenet_kernels.nn.eager import EagerLayer, MigratedStack, from_eager, require_agreement
from wavenet_kernels.nn.quantized import QuantizedStackStream
from wavenet_kernels.nn.residual import ResidualBlock, ResidualStack
from wavenet_kernels.nn.streams import StackStream

__all__ = [
    "CausalConv1d",
    "EagerLayer",
    "GatedConv1d",
    "MigratedStack",
    "QuantizedStackStream",
    "ResidualBlock",
    "ResidualStack",
    "StackStream",
    "from_eager",
    "require_agreement",
]
