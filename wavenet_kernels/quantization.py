"""Weights and activations in 8 bits, of which 7 are used: what csrc/cpu/quantized.h computes with.

Weights are whole numbers from -64 to 64 with a scale for each output, activations whole numbers
from -63 to 63 with a scale for each time, so that a result does not depend on how a signal was cut.
With 7 bits the sums of four products fit into 16 bits: processors that multiply pairs of bytes
into 16 bits that saturate compute exactly what those with dot products of bytes compute.
"""

from __future__ import annotations

import torch
from torch import Tensor

WEIGHT_LEVELS = 64
ROW_LEVELS = 63
# Rows of smaller numbers are zeros.
SMALLEST = 1e-30


def quantize_weights(weight: Tensor, outputs: int = 1) -> tuple[Tensor, Tensor]:
    """Whole numbers and their scales: ``weight`` is about ``numbers * scales``.

    Args:
        weight: floating point, finite, outputs first.
        outputs: so many leading dimensions count outputs: 2 for a stack's (L, O, ...).

    Returns:
        int8 in the shape of the weight, float32 in that of its leading dimensions.
    """
    weight = weight.detach().float()
    scales = weight.flatten(outputs).abs().amax(-1) / WEIGHT_LEVELS
    each = scales.reshape(*scales.shape, *[1] * (weight.dim() - outputs))
    numbers = torch.where(each > 0, weight / each, 0.0).round()
    return numbers.clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS).to(torch.int8), scales


def dequantize_weights(numbers: Tensor, scales: Tensor) -> Tensor:
    """The float32 weights that such numbers stand for."""
    return numbers.float() * scales.reshape(*scales.shape, *[1] * (numbers.dim() - scales.dim()))


def rounded_rows(x: Tensor) -> Tensor:
    """(B, C, T), each time's channels rounded to what 8 bits hold of them."""
    most = x.abs().amax(1, keepdim=True)
    inverse = torch.where(most > SMALLEST, ROW_LEVELS / most, 0.0)
    numbers = (x.double() * inverse.double()).round().to(x.dtype)  # a product of floats is exact
    return numbers * (most / ROW_LEVELS)
