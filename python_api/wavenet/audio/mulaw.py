"""mu-law companding and quantisation (ITU-T G.711's formula; WaveNet paper, section 2.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavenet.errors import DataError


def mu_law_compress(x: Tensor, channels: int = 256) -> Tensor:
    """f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu), mu = channels - 1.

    Args:
        x: waveform, any shape, floating point; values outside [-1, 1] are clipped to it.
        channels: number of codes that the curve is made for, at least 2.

    Returns:
        The same shape and dtype, in [-1, 1].

    Raises:
        DataError: `x` is not floating point or `channels` is below 2.
    """
    mu = _mu(channels)
    if not x.is_floating_point():
        raise DataError(f"x is {x.dtype}; a floating-point waveform in [-1, 1] is accepted")
    x = x.clamp(-1.0, 1.0)
    return torch.sign(x) * torch.log1p(mu * x.abs()) / math.log1p(mu)


def mu_law_encode(x: Tensor, channels: int = 256) -> Tensor:
    """Quantise a waveform to mu-law codes.

    Args:
        x: waveform, any shape, floating point, clipped to [-1, 1].
        channels: number of codes, at least 2.

    Returns:
        Codes 0 .. channels - 1, int64, the same shape; 0 is -1.0, channels - 1 is +1.0.

    Raises:
        DataError: `x` is not floating point or `channels` is below 2.
    """
    mu = _mu(channels)
    # Half precision can't tell 256 codes apart near +-1.
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    codes = ((mu_law_compress(wide, channels) + 1.0) * (0.5 * mu) + 0.5).floor().long()
    return codes.clamp(0, mu)  # NaN converts to anything; an embedding must not see that


def mu_law_decode(codes: Tensor, channels: int = 256) -> Tensor:
    """The waveform value in the middle of each code; `mu_law_encode` gives the code back.

    Args:
        codes: codes 0 .. channels - 1, any shape, any integer dtype.
        channels: number of codes, at least 2.

    Returns:
        float32 in [-1, 1], the same shape.

    Raises:
        DataError: `codes` is not of an integer dtype or `channels` is below 2.
    """
    mu = _mu(channels)
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise DataError(f"codes is {codes.dtype}; integer codes 0 .. {mu} are accepted")
    y = codes.float() * (2.0 / mu) - 1.0
    x = torch.sign(y) * torch.expm1(y.abs() * math.log1p(mu)) / mu
    return x.clamp(-1.0, 1.0)  # rounding may go beyond by an ulp


def _mu(channels: int) -> int:
    if channels < 2:
        raise DataError(f"channels is {channels}; at least 2 are accepted (256 in the paper)")
    return channels - 1
