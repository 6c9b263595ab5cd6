"""Random numbers that need no state: Philox 4x32-10 of a seed, a sample's number and a signal's.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Random123).
"""

from __future__ import annotations

import operator
from typing import SupportsIndex

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counter: Tensor, seed: int) -> Tensor:
    """The four random words of each counter. counter (..., 4) int64 words, seed of 64 bits."""
    c0, c1, c2, c3 = counter.unbind(-1)
    keys = [seed & _WORD, seed >> 32 & _WORD]
    for _ in range(_ROUNDS):
        # Products wrap at 64 bits; what a shift brings in from the sign is masked away.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (p1 >> 32 & _WORD) ^ c1 ^ keys[0],
            p1 & _WORD,
            (p0 >> 32 & _WORD) ^ c3 ^ keys[1],
            p0 & _WORD,
        )
        keys = [(key + weyl) & _WORD for key, weyl in zip(keys, _WEYL, strict=True)]
    return torch.stack((c0, c1, c2, c3), dim=-1)


def checked_seed(seed: SupportsIndex, first_signal: SupportsIndex, batch: int) -> tuple[int, int]:
    """Both, as Python's ints; ValueError for what is none, or signals that can't be told apart."""
    key, first, last = _int_of(seed), _int_of(first_signal), 2**32 - batch
    if key is None:
        raise ValueError(f"seed is {seed!r}; accepted is an int")
    if first is None or not 0 <= first <= last:
        raise ValueError(f"first_signal is {first_signal!r}; accepted is an int from 0 to {last}")
    return key, first


def _int_of(number: SupportsIndex) -> int | None:
    """One of Python's, NumPy's or torch's whole numbers as Python's; None: it is none."""
    try:
        return None if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return None


def check_noise(noise: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError for what can't stand for `uniforms`: another shape, or not of 0 to 1."""
    if tuple(noise.shape) != shape:
        raise ValueError(f"noise has shape {tuple(noise.shape)}; accepted is {shape}")
    if not noise.is_floating_point() or not bool(((noise >= 0) & (noise <= 1)).all()):
        raise ValueError("noise holds others than floats from 0 to 1, which are accepted")


def uniforms(
    seed: int,
    n: int,
    *,
    batch: int = 1,
    start: int = 0,
    first_signal: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Four uniform numbers for each of n samples of each signal, from sample `start` on.

    Signal b of a batch is signal first_signal + b of the seed, so that it may be made alone.

    Raises:
        ValueError: a seed or signal that is no int, or signals beyond 32 bits.

    Returns:
        (batch, 4, n) float64, strictly between 0 and 1: (w + 1/2) 2^-24 of a word's upper 24 bits.
    """
    seed, first_signal = checked_seed(seed, first_signal, batch)
    t = torch.arange(start, start + n, device=device)
    signal = torch.arange(first_signal, first_signal + batch, device=device)
    counter = torch.zeros(batch, n, 4, dtype=torch.int64, device=device)
    counter[..., 0], counter[..., 1], counter[..., 2] = t & _WORD, t >> 32, signal[:, None]
    words = philox(counter, seed)
    return ((words >> 8).double() + 0.5).mul_(2.0**-24).transpose(1, 2)
