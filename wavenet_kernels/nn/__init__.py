"""Layers of WaveNet-style networks over the fused operators: torch.nn modules, and streams."""

from wavenet_kernels.nn.convolution import CausalConv1d, GatedConv1d
from wavenet_kernels.nn.quantized import QuantizedStackStream
from wavenet_kernels.nn.residual import ResidualBlock, ResidualStack
from wavenet_kernels.nn.streams import StackStream

__all__ = [
    "CausalConv1d",
    "GatedConv1d",
    "QuantizedStackStream",
    "ResidualBlock",
    "ResidualStack",
    "StackStream",
]
