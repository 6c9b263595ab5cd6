"""Log energies of learned bands: what a network of few data does not find by itself.

After Zeghidour et al. (LEAF, arXiv 2101.08596): filters that start as a mel spectrogram's, of
which position and width are learned, not every tap.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOWEST_HZ = 40.0
# Of half the sample rate.
HIGHEST_SHARE = 0.975
# Energy that is silence: white noise of -60 dBFS has as much in each band.
FLOOR = 1e-6
# They bring the logarithms of usual sounds near mean 0 and variance 1.
SCALE, OFFSET = 0.25, 1.0
# A filter's window is so many of its standard deviations long, at least.
DEVIATIONS = 5.0


class BandEnergies(nn.Module):
    """Waveform (B, T) -> log energies (B, filters, ceil(T / stride)), float32.

    Each band has two Gabor filters a quarter of a period apart; its energy is the sum of their
    squares, so that it makes no difference where in a period a window begins. Output j is the one
    whose newest sample is j * stride. What is learned starts at 0, which is the mel scale.

    Args:
        filters: bands, evenly spaced on the mel scale at first.
        taps, stride: samples of a filter, and between outputs.
        sample_rate: in Hz.
    """

    mels: Tensor
    deviations: Tensor
    seconds: Tensor

    def __init__(self, filters: int, taps: int, stride: int, sample_rate: int) -> None:
        super().__init__()
        self.taps = taps
        self.stride = stride
        highest = HIGHEST_SHARE * sample_rate / 2
        low, high = _mel(min(LOWEST_HZ, highest / 2)), _mel(highest)
        mels = torch.linspace(low, high, filters + 2, dtype=torch.float64).unsqueeze(1)
        self.spacing = (high - low) / (filters + 1)
        half_widths = (_hertz(mels[2:]) - _hertz(mels[:-2])) / 2
        # Neighbours overlap by about half; what the taps can't hold is as narrow as they can.
        deviations = (1.2 / (math.pi * half_widths)).clamp(max=taps / sample_rate / DEVIATIONS)
        seconds = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / sample_rate
        for name, value in (("mels", mels[1:-1]), ("deviations", deviations), ("seconds", seconds)):
            self.register_buffer(name, value.float(), persistent=False)
        # In spacings; natural logarithms; in units of the output.
        self.shift = nn.Parameter(torch.zeros(filters, 1))
        self.narrowing = nn.Parameter(torch.zeros(filters, 1))
        self.gain = nn.Parameter(torch.zeros(filters, 1))
        self.bias = nn.Parameter(torch.zeros(filters, 1))

    def filters(self) -> Tensor:
        """(2 filters, taps), each pair of norm 1 but for rounding: cosines, then sines."""
        deviations = self.deviations * self.narrowing.exp()
        window = (-0.5 * (self.seconds / deviations).square()).exp()
        window = window * window.square().sum(1, keepdim=True).rsqrt()
        hertz = _hertz(self.mels + self.spacing * self.shift)
        phase = (2 * math.pi) * hertz * self.seconds
        return torch.cat([window * phase.cos(), window * phase.sin()])

    def forward(self, waveform: Tensor) -> Tensor:
        padded = F.pad(waveform, (self.taps - 1, 0))
        filters = self.filters().to(waveform.dtype)
        if torch.compiler.is_compiling():
            filtered = F.conv1d(padded.unsqueeze(1), filters.unsqueeze(1), stride=self.stride)
        else:  # of one channel a product is faster
            windows = padded.unfold(1, self.taps, self.stride)
            rows = F.linear(windows.flatten(0, 1), filters)
            filtered = rows.view(*windows.shape[:2], len(filters)).transpose(1, 2)
        # Half precision doesn't span what energies do.
        filtered = filtered.to(torch.promote_types(filtered.dtype, torch.float32))
        cosines, sines = filtered.square().chunk(2, dim=1)
        energies = (cosines + sines + FLOOR).log()
        return energies * (SCALE * self.gain.exp()) + (OFFSET + self.bias)


def drop_bands(energies: Tensor, share: float) -> Tensor:
    """(B, filters, times) with two stretches of bands at 0 in each clip, each up to this share."""
    batch, filters, _ = energies.shape
    sizes, places = torch.rand(2, batch, 2, 1, device=energies.device)
    sizes = sizes * (share * filters)
    starts = places * (filters - sizes)
    bands = torch.arange(filters, device=energies.device) + 0.5
    dropped = ((bands > starts) & (bands < starts + sizes)).any(1)
    return energies.masked_fill(dropped.unsqueeze(2), 0.0)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mels: Tensor) -> Tensor:
    return 700 * ((mels * (math.log(10) / 2595)).exp() - 1)
