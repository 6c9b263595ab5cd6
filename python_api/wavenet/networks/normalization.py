"""Batch normalisation that hears clips and not what they are padded with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wavenet.networks.lengths import mask

# Those of torch.nn.BatchNorm2d.
MOMENTUM = 0.1
EPSILON = 1e-5


class MaskedBatchNorm(nn.Module):
    """Channels at mean 0 and variance 1 over a batch, then scaled and shifted by what is learned.

    In training it is torch.nn.BatchNorm2d over the clips' own times, whatever they are padded to;
    in evaluation the running mean and variance stand for those. While its weight is frozen
    (`requires_grad` False) they do so in training too, and stay what they are.

    Source: Ioffe and Szegedy 2015 (arXiv 1502.03167).

    Shapes: (B, C, F, T), lengths (B,) in times -> (B, C, F, T).

    Attributes:
        together: processes that train together measure one mean and variance of all their clips.
        remembering: what a batch has moves the running mean and variance, and is told the others.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.together = False
        self.remembering = True
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training and self.weight.requires_grad:
            mean, variance = self._measure(x, lengths)
        scale, shift = self._affine(mean, variance)
        wide = x.to(scale.dtype)
        return torch.addcmul(shift[:, None, None], wide, scale[:, None, None]).to(x.dtype)

    def affine(self) -> tuple[Tensor, Tensor]:
        """What it is in evaluation: a factor and a summand of each channel, (C,) each."""
        return self._affine(self.running_mean, self.running_var)

    def _affine(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.weight * (variance + EPSILON).rsqrt()
        return scale, self.bias - mean * scale

    def _measure(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel inside the clips; half precision would round them."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            inside = mask(lengths, x.shape[3]).to(x.dtype).transpose(1, 2)  # (B, T, 1)
            count = self._sum(inside.sum() * x.shape[2])
            # One process of several may have no clip.
            divisor = count.clamp(min=1)
            mean = self._sum(_sum_inside(x, inside)) / divisor
            squares = (x - mean[:, None, None]).square()
            variance = self._sum(_sum_inside(squares, inside)) / divisor
        if self.remembering:
            with torch.no_grad():
                share = (MOMENTUM * (count > 0)).to(self.running_mean)
                unbiased = variance * (count / (count - 1).clamp(min=1))
                self.running_mean.lerp_(mean.to(self.running_mean), share)
                self.running_var.lerp_(unbiased.to(self.running_var), share)
        return mean, variance

    def _sum(self, values: Tensor) -> Tensor:
        """Over all processes."""
        if not (self.together and self.remembering):
            return values
        return _summed(values)


class SumOverProcesses(torch.autograd.Function):
    """The sum of the processes' tensors, in each of them; its gradient is that of all their losses.

    Only for processes that call it in the same order, forward and backward.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total


@torch.compiler.disable  # of what is compiled it is no part
def _summed(values: Tensor) -> Tensor:
    total: Tensor = SumOverProcesses.apply(values)
    return total


def measure_together(model: nn.Module) -> None:
    """The processes that train this model normalise by all their clips, as one process would."""
    for norm in norms_of(model):
        norm.together = True


@contextlib.contextmanager
def nothing_remembered(model: nn.Module) -> Iterator[None]:
    """What the model hears in here moves no statistics, and no process waits for others."""
    norms = [norm for norm in norms_of(model) if norm.remembering]
    for norm in norms:
        norm.remembering = False
    try:
        yield
    finally:
        for norm in norms:
            norm.remembering = True


def norms_of(model: nn.Module) -> list[MaskedBatchNorm]:
    """Each that a model has."""
    return [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]


def _sum_inside(x: Tensor, inside: Tensor) -> Tensor:
    """(B, C, F, T), (B, T, 1) -> (C,): a matrix product is one pass and makes no copy."""
    return torch.bmm(x.flatten(1, 2), inside).view(x.shape[:3]).sum((0, 2))
