"""Normalisations as training leaves them, without training."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from wavenet.networks.normalization import MaskedBatchNorm

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def with_statistics(model: Model) -> Model:
    """Each has a running mean and variance, scale and bias that are not those it starts with."""
    random = torch.Generator().manual_seed(7)
    for norm in model.modules():
        if isinstance(norm, MaskedBatchNorm):
            for tensor in (norm.running_var, norm.weight):
                tensor.uniform_(0.3, 2.0, generator=random)
            for tensor in (norm.running_mean, norm.bias):
                tensor.uniform_(-0.5, 0.5, generator=random)
    return model
