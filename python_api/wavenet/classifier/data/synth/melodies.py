"""Melodies of one voice on four instruments, with the notes that are played.

What tells the instruments apart is what a musician hears: the harmonics, and how a note begins,
lasts and ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavenet.classifier.data.synth.dsp import Array, Rng, add_at, decay, harmonic, seconds_of
from wavenet.data.notes import Note, hz_of

# C3 to C5; a fundamental and three harmonics more fit into 4 kHz.
LOWEST, HIGHEST = 48, 72
# Semitones of a major scale above its tonic.
SCALE = (0, 2, 4, 5, 7, 9, 11)
RELEASE = 0.02  # seconds in which a note fades out, before it ends


class Melody(NamedTuple):
    """Sound float32 (T,), and the notes in it."""

    samples: NDArray[np.float32]
    notes: list[Note]


def organ(pitch: float, samples: int, rate: int) -> Array:
    """Four drawbars, steady."""
    return 0.5 * harmonic(np.full(samples, pitch), np.array([1.0, 0.8, 0.0, 0.5]), rate)


def clarinet(pitch: float, samples: int, rate: int) -> Array:
    """Odd harmonics alone, swelling."""
    tone = harmonic(np.full(samples, pitch), np.array([1.0, 0.0, 0.5, 0.0, 0.3]), rate)
    return 0.7 * tone * np.minimum(seconds_of(samples, rate) / 0.05, 1.0)


def flute(pitch: float, samples: int, rate: int) -> Array:
    """Hardly any harmonics, and a vibrato of a sixth of a semitone, five times a second."""
    sway = np.sin(2 * np.pi * 5.0 * seconds_of(samples, rate)) / 6.0
    tone = harmonic(pitch * np.exp2(sway / 12.0), np.array([1.0, 0.15]), rate)
    return tone * np.minimum(seconds_of(samples, rate) / 0.03, 1.0)


def guitar(pitch: float, samples: int, rate: int) -> Array:
    """Plucked: many harmonics, dying away."""
    tone = harmonic(np.full(samples, pitch), 1.0 / np.arange(1.0, 9.0), rate)
    return tone * decay(samples, rate, 0.003, 0.25)


INSTRUMENTS: dict[str, Callable[[float, int, int], Array]] = {
    play.__name__: play for play in (clarinet, flute, guitar, organ)
}


def melody(instrument: str, rng: Rng, *, sample_rate: int, seconds: float) -> Melody:
    """A walk over a scale on an instrument, its loudest sample between -9 and -3 dBFS.

    Notes follow one another without a gap, or with a rest; the last may be cut by the end.

    Args:
        instrument: a key of `INSTRUMENTS`.
        rng: makes the melody.
        sample_rate: in Hz.
        seconds: duration.
    """
    play, samples = INSTRUMENTS[instrument], round(seconds * sample_rate)
    notes = _notes(rng, seconds)
    sound = np.zeros(samples)
    for onset, offset, pitch in notes:
        length = round((offset - onset) * sample_rate)
        fades = np.arange(length)[::-1] / (RELEASE * sample_rate)
        played = play(hz_of(pitch), length, sample_rate) * np.minimum(fades, 1.0)
        add_at(sound, onset, sample_rate, played * rng.uniform(0.7, 1.0))
    sound *= 10 ** (rng.uniform(-9, -3) / 20) / np.abs(sound).max()
    sound += 1e-3 * rng.standard_normal(samples)  # silence as microphones have it
    return Melody(sound.astype(np.float32), notes)


def _notes(rng: Rng, seconds: float) -> list[Note]:
    """Until the end; times in milliseconds, as a table has them."""
    tonic = int(rng.integers(12))
    scale = [p for p in range(LOWEST, HIGHEST + 1) if (p - tonic) % 12 in SCALE]
    beat = rng.uniform(0.2, 0.3)
    place, onset = int(rng.integers(len(scale))), 0.0
    notes: list[Note] = []
    while onset < seconds - 0.1:
        length = beat * rng.choice([0.5, 1.0, 1.0, 2.0])
        offset = min(round(onset + length, 3), seconds)
        if not notes or rng.uniform() > 0.1:  # else a rest
            notes.append(Note(onset, offset, scale[place]))
        onset = offset
        place = int(np.clip(place + rng.integers(-3, 4), 0, len(scale) - 1))
    return notes
