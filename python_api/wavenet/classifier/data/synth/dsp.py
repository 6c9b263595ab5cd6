"""The few building blocks that all synthesised sounds share. Waveforms are float64 (T,)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A draw whose logarithm is uniform, as pitches and rates are heard."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def seconds_of(samples: int, rate: int) -> Array:
    """The time of each sample in seconds (T,)."""
    return np.arange(samples) / rate


def filtered(x: Array, rate: int, gain: Callable[[Array], Array]) -> Array:
    """`x` with each frequency's amplitude multiplied by `gain(frequencies in Hz)`; no phase shift.

    Zeros are put behind `x` first, so that its end doesn't leak into its start.
    """
    size = 2 * len(x)
    spectrum = np.fft.rfft(x, size) * gain(np.fft.rfftfreq(size, 1 / rate).astype(np.float64))
    return np.fft.irfft(spectrum, size)[: len(x)]


def band(centre: float, octaves: float) -> Callable[[Array], Array]:
    """A bell-shaped band: half the amplitude at `octaves` above and below `centre` Hz."""

    def gain(f: Array) -> Array:
        distance: Array = np.log2(np.maximum(f, 1.0) / centre) / octaves
        return np.exp2(-(distance**2))

    return gain


def noise_band(rng: Rng, samples: int, rate: int, centre: float, octaves: float) -> Array:
    """Noise in a bell-shaped band, at unit power."""
    return unit(filtered(rng.standard_normal(samples), rate, band(centre, octaves)))


def unit(x: Array) -> Array:
    """`x` at unit power (unchanged if it is silent)."""
    power = float(np.sqrt(np.mean(x**2)))
    return x / power if power > 0 else x


def wander(rng: Rng, samples: int, rate: int, per_second: float) -> Array:
    """A smooth random curve, each turning point uniform in [-1, 1]."""
    turns = int(np.ceil(samples / rate * per_second)) + 2
    points = rng.uniform(-1, 1, turns)
    position = np.arange(samples) / rate * per_second
    left = position.astype(int)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    return points[left] * (1 - blend) + points[left + 1] * blend


def partials(rng: Rng) -> Array:
    """Amplitudes of a random harmonic timbre (up to 6), the first the strongest or nearly so."""
    count = int(rng.integers(1, 7))
    fall = rng.uniform(0.6, 2.0)
    amplitudes: Array = np.arange(1, count + 1) ** -fall * rng.uniform(0.4, 1.0, count)
    return amplitudes


def harmonic(frequency: Array, amplitudes: Array, rate: int) -> Array:
    """A tone of moving pitch. `frequency` in Hz (T,); harmonics fade out from 0.4 to 0.45 rate."""
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    tone = np.zeros(len(frequency))
    for number, amplitude in enumerate(amplitudes, start=1):
        audible = np.clip(9 - number * frequency / (0.05 * rate), 0, 1)
        tone += amplitude * audible * np.sin(number * phase)
    return tone


def decay(samples: int, rate: int, attack: float, time: float) -> Array:
    """A strike's envelope: linear attack, then exponential decay; both in seconds."""
    t = seconds_of(samples, rate)
    return np.minimum(t / attack, 1.0) * np.exp(-np.maximum(t - attack, 0.0) / time)


def add_at(target: Array, onset: float, rate: int, x: Array) -> None:
    """Add `x` into `target` from `onset` seconds on; what hangs over either end is cut."""
    start = round(onset * rate)
    first, last = max(start, 0), min(start + len(x), len(target))
    if first < last:
        target[first:last] += x[first - start : last - start]
