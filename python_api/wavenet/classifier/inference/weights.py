"""Weights in fewer bits than float32: which of a classifier's, and what they become."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import DataError
from wavenet.networks.normalization import norms_of
from wavenet_kernels.quantization import dequantize_weights, quantize_weights

WEIGHTS = ("float32", "bfloat16", "int8")


def require_weights(weights: str) -> None:
    """One of `WEIGHTS`.

    Raises:
        DataError: it is another.
    """
    if weights not in WEIGHTS:
        raise DataError(f"weights is {weights!r}; accepted are {', '.join(WEIGHTS)}")


def in_bfloat16(name: str, weight: Tensor) -> bool:
    """Whether a weight of a model's `state_dict` is rounded to bfloat16: all but biases.

    Of a filterbank the few numbers that are learned stay what they are, the filters are made of
    them.
    """
    learned = not name.startswith(("stem.bands.", "stem.filters"))
    return learned and weight.dim() > 1 and not name.endswith("bias")


def in_int8(name: str) -> bool:
    """Whether a weight is rounded to 8 bits: the stack's and the head's, which are most of them.

    The stem hears the waveform's quiet parts, which 8 bits would lose; attention and the last layer
    are small.
    """
    return name in ("stack.conv_weight", "stack.out_weight") or (
        name.startswith("head.convs.") and name.endswith(".weight")
    )


def quantized(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 numbers and their scales, one for each output."""
    return quantize_weights(weight, outputs=2 if name.startswith("stack.") else 1)


@torch.no_grad()
def rounded(model: WaveNetClassifier, weights: str) -> WaveNetClassifier:
    """The model with the weights that so many bits hold, again in float32: a copy, unless those."""
    if weights == "float32":
        return model
    model = copy.deepcopy(folded(model))
    for name, weight in model.named_parameters():
        if weights == "bfloat16" and in_bfloat16(name, weight):
            weight.copy_(weight.bfloat16())
        elif weights == "int8" and in_int8(name):
            weight.copy_(dequantize_weights(*quantized(name, weight)))
    return model


def folded(model: WaveNetClassifier) -> WaveNetClassifier:
    """The model with its normalisation in the weights before it: a copy, if it has any.

    It is for inference: in training it would be another network.
    """
    if not norms_of(model):
        return model
    model = copy.deepcopy(model)
    model.fold()
    return model
