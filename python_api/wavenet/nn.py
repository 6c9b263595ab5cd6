"""Layers and distributions, by the name that somebody with recordings looks for."""

from wavenet.generation.distributions import MixtureOfGaussians, MixtureOfLogistics, Softmax
from wavenet_kernels.nn import (
    CausalConv1d,
    GatedConv1d,
    ResidualBlock,
    ResidualStack,
    StackStream,
)

__all__ = [
    "CausalConv1d",
    "GatedConv1d",
    "MixtureOfGaussians",
    "MixtureOfLogistics",
    "ResidualBlock",
    "ResidualStack",
    "Softmax",
    "StackStream",
]
