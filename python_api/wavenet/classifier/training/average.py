"""An exponential moving average of the weights, which is evaluated and saved in their stead."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """The average of a model's weights: `update_parameters` after each step; `.module` has them.

    The decay grows to its value as (1 + n) / (10 + n) over the updates n, so that the random
    weights of the start are forgotten early (as TensorFlow's ExponentialMovingAverage does).
    """

    @torch.no_grad()
    def mix(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        torch._foreach_lerp_(list(averages), list(weights), 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(model, multi_avg_fn=mix)
    average.requires_grad_(False)
    return average
