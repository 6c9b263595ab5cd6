"""One value of each distribution that a network describes, from given uniform numbers.

Parameters are (B, P, T) and uniforms (B, 4, T): the first chooses a class or a component, the
second makes a logistic, the others a Gaussian. So every device can draw the same value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Logistics stay within +-11.5 scales: wavenet_vocoder and pixelcnn++ bound their uniforms so.
LOGISTIC_BOUND = 1e-5
# The smallest uniform of philox.py: a Gaussian of it is finite.
SMALLEST = 2.0**-25


def draw_class(logits: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
    """logits (B, A, T), uniforms (B, 4, T) -> classes (B, T) int64.

    The first class whose running sum of unnormalised probabilities exceeds u times the total.
    """
    # Differences first: quotients would overflow where it is cold. That of the largest is 0, and
    # divided by no 0 stays so.
    temperature = max(temperature, torch.finfo(logits.dtype).tiny)
    sums = ((logits - logits.amax(1, keepdim=True)) / temperature).exp().cumsum(1)
    total = sums[:, -1:]
    chosen = (sums <= uniforms[:, :1] * total).sum(1)
    # Where rounding makes u the total, the last class that has any probability.
    return torch.minimum(chosen, (sums < total).sum(1))


def draw_logistic(
    parameters: Tensor,
    uniforms: Tensor,
    temperature: float = 1.0,
    scale_floor: float | None = None,
) -> Tensor:
    """One of N logistics: parameters (B, 3 N, T) logits, means, log scales -> (B, T) in [-1, 1]."""
    mean, log_scale = _component(parameters, uniforms, temperature, scale_floor)
    u = LOGISTIC_BOUND + (1.0 - 2.0 * LOGISTIC_BOUND) * uniforms[:, 1]
    x = mean + temperature * log_scale.exp() * (u.log() - (-u).log1p())
    return x.clamp(-1.0, 1.0)


def draw_gaussian(
    parameters: Tensor,
    uniforms: Tensor,
    temperature: float = 1.0,
    scale_floor: float | None = None,
) -> Tensor:
    """One of N Gaussians: as `draw_logistic`, or (B, 2, T), mean and log scale of a single one."""
    mean, log_scale = _component(parameters, uniforms, temperature, scale_floor)
    drawn = mean + temperature * log_scale.exp() * normal_of(uniforms)
    return drawn.clamp(-1.0, 1.0)


def normal_of(uniforms: Tensor) -> Tensor:
    """A normal number of the third and fourth uniform one: (B, 4, T) -> (B, T).

    Source: Box and Muller 1958.
    """
    radius = (-2.0 * uniforms[:, 2].clamp_min(SMALLEST).log()).sqrt()
    return radius * (2.0 * math.pi * uniforms[:, 3]).cos()


def _component(
    parameters: Tensor, uniforms: Tensor, temperature: float, scale_floor: float | None
) -> tuple[Tensor, Tensor]:
    """Mean and log scale (B, T) of the component that the first uniform number chooses."""
    if parameters.shape[1] == 2:
        mean, log_scale = parameters.unbind(1)
    else:
        logits, means, log_scales = parameters.chunk(3, dim=1)
        chosen = draw_class(logits, uniforms, temperature).unsqueeze(1)
        mean, log_scale = means.gather(1, chosen)[:, 0], log_scales.gather(1, chosen)[:, 0]
    return mean, log_scale if scale_floor is None else log_scale.clamp_min(scale_floor)
