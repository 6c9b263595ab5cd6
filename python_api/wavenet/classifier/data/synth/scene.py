"""From a sound to a recording of it: the room, the microphone, the background, the level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wavenet.classifier.data.synth import sounds
from wavenet.classifier.data.synth.dsp import (
    Array,
    Rng,
    band,
    filtered,
    log_uniform,
    seconds_of,
    unit,
)
from wavenet.errors import DataError

SOUNDS = {
    sound.__name__: sound
    for sound in (
        sounds.alarm,
        sounds.bell,
        sounds.bird_song,
        sounds.engine,
        sounds.footsteps,
        sounds.helicopter,
        sounds.rain,
        sounds.siren,
        sounds.thunder,
        sounds.wind,
    )
}


def synthesise(
    label: str, seed: int | Rng, *, sample_rate: int = 16000, seconds: float = 1.0
) -> NDArray[np.float32]:
    """One clip of one of the ten sounds, as a cheap microphone somewhere would have heard it.

    Args:
        label: a key of `SOUNDS`.
        seed: makes the clip; the same seed gives the same clip.
        sample_rate: in Hz, 8000 to 48000.
        seconds: duration, 0.5 to 60.

    Returns:
        float32 (round(seconds * sample_rate),), peak between -14 and -1 dBFS.

    Raises:
        DataError: an argument is out of range.
    """
    if label not in SOUNDS:
        raise DataError(f"label is {label!r}; accepted are {', '.join(SOUNDS)}")
    require_limits(sample_rate, seconds)
    rng = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    clip = unit(_room(rng, unit(SOUNDS[label](rng, samples, sample_rate)), sample_rate))
    clip += _background(rng, samples, sample_rate) * 10 ** (-rng.uniform(10, 28) / 20)
    clip = _microphone(rng, clip, sample_rate)
    level = 10 ** (rng.uniform(-14, -1) / 20)
    return (clip * (level / np.abs(clip).max())).astype(np.float32)


def require_limits(sample_rate: int, seconds: float) -> None:
    """Raise DataError for a rate or length of which nothing is synthesised."""
    if not 8000 <= sample_rate <= 48000:
        raise DataError(f"sample_rate is {sample_rate}; 8000 to 48000 Hz are accepted")
    if not 0.5 <= seconds <= 60:
        raise DataError(f"seconds is {seconds}; 0.5 to 60 are accepted")


def _room(rng: Rng, x: Array, rate: int) -> Array:
    """Add a diffuse echo: the sound folded with noise that dies away."""
    length = round(0.3 * rate)
    t = seconds_of(length, rate)
    echo = rng.standard_normal(length) * np.exp(-t / log_uniform(rng, 0.01, 0.06))
    size = len(x) + length
    folded = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(unit(echo), size), size)[: len(x)]
    return x + rng.uniform(0.0, 0.5) * unit(folded)


def _background(rng: Rng, samples: int, rate: int) -> Array:
    """Steady noise of a random slope, from white to 9 dB an octave falling."""
    slope = rng.uniform(0, 1.5)
    return unit(
        filtered(rng.standard_normal(samples), rate, lambda f: np.maximum(f, 50.0) ** -slope)
    )


def _microphone(rng: Rng, x: Array, rate: int) -> Array:
    """A random colour: a slope of up to 3 dB an octave either way and three humps or dips."""
    slope = rng.uniform(-3, 3) / 6
    humps = [(log_uniform(rng, 150, 4000), rng.uniform(0.4, 1.2)) for _ in range(3)]
    gains = rng.uniform(-0.8, 0.8, 3)

    def gain(f: Array) -> Array:
        response = (np.maximum(f, 80.0) / 1000) ** slope
        for (centre, octaves), strength in zip(humps, gains, strict=True):
            response = response * np.exp(strength * band(centre, octaves)(f))
        return response

    return filtered(x, rate, gain)
