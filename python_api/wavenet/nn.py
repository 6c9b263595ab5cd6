"""The layers of wavenet_kernels.nn, by the name that somebody with recordings looks for."""

from wavenet_kernels.nn import (
    CausalConv1d,
    GatedConv1d,
    ResidualBlock,
    ResidualStack,
    StackStream,
)

__all__ = ["CausalConv1d", "GatedConv1d", "ResidualBlock", "ResidualStack", "StackStream"]
