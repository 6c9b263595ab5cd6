"""Random changes to a training clip that keep its class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wavenet.data.errors import DataError


@dataclass(frozen=True)
class Augmentation:
    """Shift, polarity, gain and white noise, each drawn anew for every clip; by default none.

    Attributes:
        shift_ms: shift in time, uniform within +-shift_ms milliseconds and within the clip's
            length; samples pushed out are lost, the gap is zeros.
        polarity: flip the sign of half of the clips.
        gain_db: gain, uniform within +-gain_db decibels. The result isn't clipped to [-1, 1].
        noise_snr_db: (lowest, highest) signal-to-noise ratio in decibels of added white noise,
            relative to the clip's mean power; None adds none.

    Raises:
        DataError: a value is negative, not finite, or the SNR range is reversed.
    """

    gain_db: float = 0.0
    shift_ms: float = 0.0
    noise_snr_db: tuple[float, float] | None = None
    polarity: bool = False

    def __post_init__(self) -> None:
        for name in ("gain_db", "shift_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"{name} is {value}; a finite number >= 0 is accepted")
        if self.noise_snr_db is not None:
            given = self.noise_snr_db
            snr = tuple(given) if isinstance(given, (tuple, list)) else ()  # YAML gives a list
            if len(snr) != 2 or not all(map(math.isfinite, snr)) or snr[0] > snr[1]:
                raise DataError(
                    f"noise_snr_db is {self.noise_snr_db}; (lowest, highest) in dB or None is "
                    "accepted"
                )
            object.__setattr__(self, "noise_snr_db", snr)

    def __call__(self, waveform: Tensor, sample_rate: int, generator: torch.Generator) -> Tensor:
        """Change one clip.

        Args:
            waveform: floating point (T,); left as it is.
            sample_rate: in Hz.
            generator: the source of all randomness, on the CPU.

        Returns:
            The same shape and dtype.
        """

        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        if self.shift_ms:
            limit = min(self.shift_ms * sample_rate / 1000, len(waveform) - 1)
            waveform = _shift(waveform, round(uniform(-limit, limit)))
        if self.polarity and uniform(0, 1) < 0.5:
            waveform = -waveform
        if self.gain_db:
            waveform = waveform * 10 ** (uniform(-self.gain_db, self.gain_db) / 20)
        if self.noise_snr_db is not None:
            scale = waveform.square().mean().sqrt() * 10 ** (-uniform(*self.noise_snr_db) / 20)
            noise = torch.randn(waveform.shape, dtype=torch.float32, generator=generator)
            waveform = waveform + scale * noise.to(waveform)
        return waveform


def _shift(waveform: Tensor, samples: int) -> Tensor:
    """Later by `samples` (earlier if negative), zeros where nothing is known."""
    shifted = torch.zeros_like(waveform)
    if samples >= 0:
        shifted[samples:] = waveform[: len(waveform) - samples]
    else:
        shifted[:samples] = waveform[-samples:]
    return shifted
