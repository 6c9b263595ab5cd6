"""Random numbers that need no state: Philox 4x32-10 of a seed, a sample's number and a signal's.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Random123).
"""

from __future__ import annotations

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

    Returns:
        (batch, 4, n) float64, strictly between 0 and 1: (w + 1/2) 2^-24 of a word's upper 24 bits.
    """
    t = torch.arange(start, start + n, device=device)
    signal = torch.arange(first_signal, first_signal + batch, device=device)
    counter = torch.zeros(batch, n, 4, dtype=torch.int64, device=device)
    counter[..., 0], counter[..., 1], counter[..., 2] = t & _WORD, t >> 32, signal[:, None]
    words = philox(counter, seed)
    return ((words >> 8).double() + 0.5).mul_(2.0**-24).transpose(1, 2)
