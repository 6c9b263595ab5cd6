"""Layers and distributions, by the name that somebody with recordings looks for."""

from wavenet.generation.conditioning import Conditioning, MelUpsample
from wavenet.generation.distributions import MixtureOfGaussians, MixtureOfLogistics, Softmax
from wavenet.generation.flow import WN, InvertibleConv1x1
from wavenet_kernels.nn import (
    CausalConv1d,
    EagerLayer,
    GatedConv1d,
    MigratedStack,
    QuantizedStackStream,
    ResidualBlock,
    ResidualStack,
    StackStream,
    from_eager,
    require_agreement,
)

__all__ = [
    "WN",
    "CausalConv1d",
    "Conditioning",
    "EagerLayer",
    "GatedConv1d",
    "InvertibleConv1x1",
    "MelUpsample",
    "MigratedStack",
    "MixtureOfGaussians",
    "MixtureOfLogistics",
    "QuantizedStackStream",
    "ResidualBlock",
    "ResidualStack",
    "Softmax",
    "StackStream",
    "from_eager",
    "require_agreement",
]
