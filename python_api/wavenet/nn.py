"""Layers and distributions, by the name that somebody with recordings looks for."""

from wavenet.generation.distributions import MixtureOfGaussians, MixtureOfLogistics, Softmax
from wavenet.generation.flow import WN, InvertibleConv1x1
from wavenet_kernels.nn import (
    CausalConv1d,
    GatedConv1d,
    ResidualBlock,
    ResidualStack,
    StackStream,
)

__all__ = [
    "WN",
    "CausalConv1d",
    "GatedConv1d",
    "InvertibleConv1x1",
    "MixtureOfGaussians",
    "MixtureOfLogistics",
    "ResidualBlock",
    "ResidualStack",
    "Softmax",
    "StackStream",
]
