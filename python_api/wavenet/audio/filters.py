"""What is done to a recording before a network hears it, and undone to what it makes.

The filters and their order are those of wavenet_vocoder, so that its models can be used.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = 255


@lru_cache(maxsize=16)
def high_pass_taps(cutoff_hz: float, sample_rate: int) -> Tensor:
    """(255,) float64: the window method with a Hamming window, of gain 1 at half the rate."""
    m = torch.arange(TAPS, dtype=torch.float64) - (TAPS - 1) / 2
    cutoff = 2.0 * cutoff_hz / sample_rate
    ideal = torch.sinc(m) - cutoff * torch.sinc(cutoff * m)
    taps = ideal * torch.hamming_window(TAPS, periodic=False, dtype=torch.float64)
    return taps / (taps * (math.pi * m).cos()).sum()


def high_pass(waveform: Tensor, cutoff_hz: float, sample_rate: int) -> Tensor:
    """Without what is below the cutoff, causally: (B, T) -> (B, T), 127 samples late."""
    taps = high_pass_taps(cutoff_hz, sample_rate).flip(0).to(waveform.device)
    wide = F.pad(waveform.double(), (TAPS - 1, 0)).unsqueeze(1)
    return F.conv1d(wide, taps[None, None])[:, 0].to(waveform.dtype)


def pre_emphasize(waveform: Tensor, coefficient: float) -> Tensor:
    """x[t] - c x[t - 1]: (B, T) -> (B, T)."""
    return waveform - coefficient * F.pad(waveform, (1, 0))[:, :-1]


class DeEmphasis:
    """The inverse of `pre_emphasize`, chunk by chunk: y[t] = x[t] + c y[t - 1]."""

    def __init__(self, coefficient: float, batch: int = 1) -> None:
        self.coefficient = coefficient
        self._last = [0.0] * batch

    def __call__(self, chunk: Tensor) -> Tensor:
        """(B, n) -> (B, n). Recursive, so no two samples can be done at once."""
        made = []
        for b, samples in enumerate(chunk.tolist()):
            y, row = self._last[b], []
            for x in samples:
                y = x + self.coefficient * y
                row.append(y)
            self._last[b] = y
            made.append(row)
        return torch.tensor(made, dtype=chunk.dtype, device=chunk.device).view_as(chunk)


def trim_silence(
    waveform: Tensor, top_db: float = 60.0, frame: int = 2048, hop: int = 512
) -> tuple[int, int]:
    """Where sound begins and ends in a waveform (T,): what is within top_db of the loudest frame.

    Frames are centred on multiples of hop, with zeros beyond the ends.

    Returns:
        begin and end in samples; of silence (0, 0).
    """
    padded = F.pad(waveform.double(), (frame // 2, frame // 2))
    power = padded.square().unfold(0, frame, hop).mean(1).clamp_min(1e-10)
    loud = (10.0 * (power / power.max()).log10() > -top_db) & (power > 1e-10)
    where = loud.nonzero()
    if not len(where):
        return 0, 0
    return int(where[0]) * hop, min(len(waveform), (int(where[-1]) + 1) * hop)
