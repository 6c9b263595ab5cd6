"""What can happen to a recording: pure functions on waveforms, on any device.

A waveform is a floating point tensor (T,), T from 1; it is left as it is. Spectral effects extend
it by silence, so that its end does not run into its beginning.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Below -100 dBFS is silence: no level is compared with it.
SILENCE = 1e-5


def crop(waveform: Tensor, share: float, position: float) -> Tensor:
    """The share of the clip (at least a sample) that starts at `position` of what can be left."""
    kept = max(1, round(share * len(waveform)))
    start = round(position * (len(waveform) - kept))
    return waveform[start : start + kept]


def shift(waveform: Tensor, samples: int) -> Tensor:
    """Later by `samples` (earlier if negative), zeros where nothing is known."""
    kept = waveform[-samples:] if samples < 0 else waveform[: len(waveform) - samples]
    return F.pad(kept, (max(samples, 0), max(-samples, 0)))


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """Played `speed` times as fast, pitch and tempo alike: about T / speed samples.

    Band-limited interpolation: the spectrum is kept, cut or extended. The speed is exact to one in
    T + 512.
    """
    size = len(waveform) + 512 + len(waveform) % 2
    new = max(2, round(size / speed))
    resampled = torch.fft.irfft(torch.fft.rfft(waveform, size), new) * (new / size)
    return resampled[: max(1, round(len(waveform) * new / size))]


def band_limit(
    waveform: Tensor, sample_rate: int, low_hz: float | None, high_hz: float | None
) -> Tensor:
    """What a small loudspeaker or a telephone leaves: 4th-order Butterworth, without its phase."""
    size = len(waveform) + sample_rate // 10
    spectrum = torch.fft.rfft(waveform, size)
    hertz = torch.fft.rfftfreq(size, 1 / sample_rate, device=waveform.device).to(waveform.dtype)
    power = torch.ones_like(hertz)
    if high_hz is not None:
        power = power / (1 + (hertz / high_hz) ** 8)
    if low_hz is not None:
        power = power / (1 + (low_hz / hertz.clamp(min=1e-3)) ** 8)
    return torch.fft.irfft(spectrum * power.sqrt(), size)[: len(waveform)]


def tilt(waveform: Tensor, sample_rate: int, db_per_octave: float) -> Tensor:
    """Brighter (or duller, if negative), as another microphone would have it; as loud as before.

    The spectrum is raised by so many decibels from each octave to the next, without its phase;
    below 100 Hz it is flat.
    """
    size = len(waveform) + sample_rate // 10
    spectrum = torch.fft.rfft(waveform, size)
    hertz = torch.fft.rfftfreq(size, 1 / sample_rate, device=waveform.device).to(waveform.dtype)
    octaves = (hertz.clamp(min=100) / 1000).log2()
    tilted = torch.fft.irfft(spectrum * 10 ** (db_per_octave * octaves / 20), size)
    tilted = tilted[: len(waveform)]
    return tilted * (_rms(waveform) / _rms(tilted).clamp(min=1e-12))


def pink(white: Tensor) -> Tensor:
    """White noise with its power made to fall as 1 / frequency."""
    size = len(white) + len(white) % 2
    spectrum = torch.fft.rfft(white, size)
    order = torch.arange(len(spectrum), device=white.device).clamp(min=1)
    return torch.fft.irfft(spectrum / order.sqrt(), size)[: len(white)]


def add_noise(waveform: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """With noise of the same length, at a ratio of mean powers in decibels."""
    scale = _rms(waveform) / _rms(noise).clamp(min=1e-12) * 10 ** (-snr_db / 20)
    return waveform + scale * noise


def silence(waveform: Tensor, start: int, length: int) -> Tensor:
    """Zeros in `length` samples from `start`."""
    masked = waveform.clone()
    masked[start : start + length] = 0
    return masked


def mixup(first: Tensor, second: Tensor, share: float) -> Tensor:
    """share * first + (1 - share) * second, as long as the longer one (arXiv 1710.09412)."""
    first, second = _as_long(first, second)
    return share * first + (1 - share) * second


def mix_between_classes(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Two sounds that a listener takes for `share` of the first, whatever their levels.

    Source: Tokozume et al. 2018 (arXiv 1711.10282), section 3.2, with the level as root mean
    square. The result has about their power.
    """
    ratio = _rms(first).clamp(min=SILENCE) / _rms(second).clamp(min=SILENCE)
    first, second = _as_long(first, second)
    p = share / (share + ratio * (1 - share))
    return (p * first + (1 - p) * second) / (p.square() + (1 - p).square()).sqrt()


def _rms(waveform: Tensor) -> Tensor:
    return waveform.square().mean().sqrt()


def _as_long(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    longest = max(len(first), len(second))
    return F.pad(first, (0, longest - len(first))), F.pad(second, (0, longest - len(second)))
