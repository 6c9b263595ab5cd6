"""What can happen to a recording: pure functions on waveforms, on any device.

A waveform is a floating point tensor (T,), T from 1; it is left as it is. Spectral effects extend
it by silence, so that its end does not run into its beginning.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Below -100 dBFS is silence: no level is compared with it.
SILENCE = 1e-5


def crop(waveform: Tensor, share: float, position: float) -> Tensor:
    """The share of the clip (at least a sample) that starts at `position` of what can be left."""
    kept = max(1, round(share * len(waveform)))
    start = round(position * (len(waveform) - kept))
    return waveform[start : start + kept]


def place(silence: Tensor, waveform: Tensor, shift: int = 0) -> None:
    """Write a clip into as much silence, later by `shift` samples (earlier if negative)."""
    size = waveform.shape[0]
    if shift:
        silence = silence[max(shift, 0) : size + min(shift, 0)]
        waveform = waveform[max(-shift, 0) : size - max(shift, 0)]
    silence.copy_(waveform)


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """Played `speed` times as fast, pitch and tempo alike: about T / speed samples.

    Band-limited interpolation: the spectrum is kept, cut or extended, between the two sizes of
    `speed_sizes`.
    """
    size, new = speed_sizes(len(waveform), speed)
    resampled = _waveform(_spectrum(waveform, size), new) * (new / size)
    return resampled[: max(1, round(len(waveform) * new / size))]


def speed_sizes(samples: int, speed: float) -> tuple[int, int]:
    """Sizes of fast transforms, before and after; the first leaves 512 samples for the ends.

    Of the next few sizes the pair whose ratio is nearest to `speed`: within 0.5 % of it.
    """
    sizes = _fast_sizes(2 ** math.ceil(math.log2(8 * (samples + 512) * max(1.0, 1 / speed))))
    first = np.searchsorted(sizes, samples + 512)
    before = np.repeat(sizes[first : first + 32], 2)
    after = np.searchsorted(sizes, before / speed)
    after[1::2] -= 1  # the sizes above and below what is asked for
    after = sizes[np.maximum(after, 0)]
    best = np.abs(before / after - speed).argmin()
    return int(before[best]), int(after[best])


def fast_size(samples: int) -> int:
    """The next size, an even one, whose transform is fast: several times that of a prime."""
    sizes = _fast_sizes(2 ** math.ceil(math.log2(2 * samples + 2)))
    return int(sizes[np.searchsorted(sizes, samples)])


@functools.cache
def _fast_sizes(most: int) -> NDArray[np.int64]:
    """Even numbers without a prime factor above 7, in order."""
    sizes = [2]
    for factor in (2, 3, 5, 7):
        for size in sizes:  # grows meanwhile
            if size * factor <= most:
                sizes.append(size * factor)
    return np.array(sorted(sizes))


def band_limit(
    waveform: Tensor, sample_rate: int, low_hz: float | None, high_hz: float | None
) -> Tensor:
    """What a small loudspeaker or a telephone leaves: 4th-order Butterworth, without its phase."""

    def gain(hertz: Tensor) -> Tensor:
        loss = torch.ones_like(hertz)
        if high_hz is not None:
            loss *= 1 + _eighth_power(hertz / high_hz)
        if low_hz is not None:
            loss *= 1 + _eighth_power(low_hz / hertz.clamp(min=1e-3))
        return loss.rsqrt()

    return _filter(waveform, sample_rate, gain)


def tilt(waveform: Tensor, sample_rate: int, db_per_octave: float) -> Tensor:
    """Brighter (or duller, if negative), as another microphone would have it; as loud as before.

    The spectrum is raised by so many decibels from each octave to the next, without its phase;
    below 100 Hz it is flat.
    """

    def gain(hertz: Tensor) -> Tensor:
        octaves = (hertz.clamp(min=100) / 1000).log2()
        return 10 ** (db_per_octave * octaves / 20)

    tilted = _filter(waveform, sample_rate, gain)
    return tilted * relative(level(waveform), level(tilted))


def _filter(waveform: Tensor, sample_rate: int, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """With its spectrum scaled by the gain at each frequency in Hz; 0.1 s of silence follow it."""
    size = fast_size(len(waveform) + sample_rate // 10)
    spectrum = _spectrum(waveform, size)
    hertz = torch.fft.rfftfreq(size, 1 / sample_rate, device=waveform.device).to(waveform.dtype)
    _scale(spectrum, gain(hertz))
    return _waveform(spectrum, size)[: len(waveform)]


def pink(white: Tensor) -> Tensor:
    """White noise with its power made to fall as 1 / frequency."""
    size = fast_size(len(white))
    spectrum = _spectrum(white, size)
    order = torch.arange(len(spectrum), device=white.device, dtype=white.dtype).clamp(min=1)
    _scale(spectrum, order.rsqrt())
    return _waveform(spectrum, size)[: len(white)]


def _spectrum(waveform: Tensor, size: int) -> Tensor:
    """Its transform of `size` samples, cut or followed by silence.

    On a CPU by NumPy: torch's takes longer to prepare a size than to transform it once.
    """
    if waveform.device.type != "cpu":
        return torch.fft.rfft(waveform, size)
    spectrum = torch.from_numpy(np.fft.rfft(waveform.numpy(), size))
    return spectrum.to(waveform.dtype.to_complex())  # NumPy 1 computes in double precision


def _waveform(spectrum: Tensor, size: int) -> Tensor:
    """The `size` samples that have this transform."""
    if spectrum.device.type != "cpu":
        return torch.fft.irfft(spectrum, size)
    waveform = torch.from_numpy(np.fft.irfft(spectrum.numpy(), size))
    return waveform.to(spectrum.dtype.to_real())


def _scale(spectrum: Tensor, gain: Tensor) -> None:
    """In place; a product of complex with real numbers would first make these complex."""
    torch.view_as_real(spectrum).mul_(gain.unsqueeze(1))


def _eighth_power(x: Tensor) -> Tensor:
    """`pow` takes ten times as long."""
    return x.square().square().square()


def add_noise(waveform: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """With noise of the same length, at a ratio of mean powers in decibels."""
    return waveform + relative(level(waveform), level(noise)) * 10 ** (-snr_db / 20) * noise


def level(waveform: Tensor) -> Tensor:
    """Root of the summed power: of clips of one length, what their loudness is compared by."""
    return torch.linalg.vector_norm(waveform)


def relative(level: Tensor, noise_level: Tensor) -> Tensor:
    """What makes the noise as loud as the waveform; none if there is no noise."""
    return level / noise_level.clamp(min=1e-12)


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
