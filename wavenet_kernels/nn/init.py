"""Initialisation that keeps the scale of activations through any number of residual layers."""

from __future__ import annotations

import math

from torch import Tensor, nn

# E[(tanh(f) sigmoid(g))^2] for independent standard normal f and g, which is what the
# convolution's initialisation makes of inputs of unit variance (numerical integral).
GATE_POWER = 0.1157


def init_convolution(weight: Tensor) -> None:
    """Unit-variance inputs give unit-variance outputs. weight (C, R, K) or (L, C, R, K)."""
    nn.init.normal_(weight, std=1.0 / math.sqrt(weight.shape[-2] * weight.shape[-1]))


def init_output(weight: Tensor, layers: int) -> None:
    """The sum over `layers` layers of a gate's 1x1 outputs has unit variance. weight (..., D).

    So the residual path at most doubles the variance of its input however deep the stack is, and
    the skip sum starts at unit variance; with one variance a layer both would grow with L.
    """
    nn.init.normal_(weight, std=1.0 / math.sqrt(layers * weight.shape[-1] * GATE_POWER))
