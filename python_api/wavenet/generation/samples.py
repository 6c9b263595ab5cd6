"""From waveforms to what a network is told and asked, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavenet.audio.mulaw import mu_law_compress, mu_law_decode
from wavenet.errors import require_finite, require_tensor
from wavenet.generation.config import GeneratorConfig


def values_of(waveform: Tensor, config: GeneratorConfig) -> Tensor:
    """Codes (B, T) int64 of a softmax, else samples, companded if the network's are.

    Raises:
        ValueError: what is neither a waveform (B, T) nor, for a softmax, codes.
    """
    softmax = config.distribution == "softmax"
    codes_too = f", or int64 codes 0 to {config.classes}-1" if softmax else ""
    require_tensor("waveform", waveform, f"(B, T) of floats in [-1, 1]{codes_too}")
    if waveform.dim() != 2 or waveform.shape[1] < 1:
        raise ValueError(
            f"waveform has shape {tuple(waveform.shape)}; accepted is (B, T) with T from 1"
        )
    if not waveform.is_floating_point():
        if not softmax or waveform.dtype == torch.bool or waveform.is_complex():
            raise ValueError(
                f"waveform is {waveform.dtype}; accepted are floats in [-1, 1]{codes_too}"
            )
        if not torch.compiler.is_compiling() and waveform.numel():
            low, high = int(waveform.min()), int(waveform.max())
            if low < 0 or high >= (config.classes or 0):
                raise ValueError(
                    f"waveform holds codes {low} to {high}; accepted are 0 to "
                    f"{(config.classes or 0) - 1}"
                )
        return waveform.long()
    require_finite("waveform", waveform)
    return encode(waveform, config) if softmax else compand(waveform, config)


def encode(waveform: Tensor, config: GeneratorConfig) -> Tensor:
    """The code of each sample: the nearest one, or the last one that isn't above it (truncated)."""
    assert config.classes is not None and config.mu is not None
    wide = waveform if waveform.dtype == torch.float64 else waveform.float()
    if config.mu_law == "truncated":
        # Not by the formula: rounding would take a code's own value for less than it.
        table = decode(torch.arange(config.classes, device=waveform.device), config)
        codes = torch.bucketize(wide.contiguous(), table.to(wide), right=True) - 1
    else:
        top = config.mu if config.companding == "mu-law" else config.classes - 1
        mu_law = config.companding == "mu-law"
        y = mu_law_compress(wide, config.mu + 1) if mu_law else wide.clamp(-1.0, 1.0)
        codes = ((y + 1.0) * (0.5 * top) + 0.5).floor().long()
    return codes.clamp(0, config.classes - 1)


def decode(codes: Tensor, config: GeneratorConfig) -> Tensor:
    """The float32 sample that each code stands for."""
    assert config.classes is not None and config.mu is not None
    if config.companding == "mu-law":
        return mu_law_decode(codes, config.mu + 1)
    return codes.float() * (2.0 / (config.classes - 1)) - 1.0


def compand(waveform: Tensor, config: GeneratorConfig) -> Tensor:
    """What a network over scalars works on."""
    assert config.mu is not None
    return mu_law_compress(waveform, config.mu + 1) if config.companding == "mu-law" else waveform


def expand(values: Tensor, config: GeneratorConfig) -> Tensor:
    """The waveform of codes or companded samples: the other way."""
    if config.distribution == "softmax":
        return decode(values, config)
    if config.companding == "none":
        return values
    assert config.mu is not None
    return torch.sign(values) * torch.expm1(values.abs() * math.log1p(config.mu)) / config.mu


def first_value(config: GeneratorConfig) -> int | float:
    """What stands for silence before the first sample: a code, or 0."""
    if config.distribution != "softmax":
        return 0.0
    return int(encode(torch.zeros(1), config))


def scalars_of(codes: Tensor, config: GeneratorConfig) -> Tensor:
    """The numbers in [-1, 1], evenly spaced, by which codes enter a network over scalars."""
    assert config.classes is not None
    return codes.float() * (2.0 / (config.classes - 1)) - 1.0
