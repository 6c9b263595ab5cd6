"""Layers of WaveNet-style networks as torch.nn modules over the fused operators."""

from wavenet_kernels.nn.convolution import CausalConv1d, GatedConv1d
from wavenet_kernels.nn.residual import ResidualBlock, ResidualStack

__all__ = ["CausalConv1d", "GatedConv1d", "ResidualBlock", "ResidualStack"]
