"""What is none of the classes: parts of recordings without them, or made noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wavenet.audio.reading import wav_of
from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.clip_check import check_clips
from wavenet.classifier.data.clips import Clip, labels_of
from wavenet.classifier.data.find import audio_files
from wavenet.classifier.data.seeding import seed_of
from wavenet.classifier.data.synth.dsp import Array, Rng, filtered, log_uniform, seconds_of, unit
from wavenet.errors import DataError
from wavenet.files import replace_file

BACKGROUND = "background"
SYNTHESISED = "synthesised"
# Recordings with fewer parts are in one split as a whole.
DEALT_PARTS = 10
# Root mean squares of what is made, in dBFS: from what a microphone gives in a quiet room.
QUIETEST_DB, LOUDEST_DB = -65.0, -15.0


def background_of(
    source: str,
    root: Path,
    splits: Sequence[Sequence[Clip]],
    samples: Sequence[int],
    cache: AudioCache,
    *,
    made_in: Path,
    tags: bool,
    events: bool,
    seed: int,
) -> list[list[Clip]]:
    """Clips of background for each split, as many as a class has, as long as clips mostly are.

    Recordings are cut; what lies together comes into one split, so that validation hears times, or
    recordings, that training does not.

    Args:
        source: a folder, also one in `root`, or "synthesised".
        root: the data set's folder.
        splits: the clips that there are, by split.
        samples: of the clips, in any order.
        cache: reads recordings.
        made_in: a folder, also a new one, for what is made.
        tags: background is clips without a tag, else it is a class.
        events: they have no events.
        seed: of what is made.

    Raises:
        DataError: no such folder, or nothing in it that can be used.
    """
    total = sum(map(len, splits))
    wanted = max(
        len(splits), round(total / len(labels_of(clip for part in splits for clip in part)))
    )
    length = int(np.median(samples))
    template = Clip(Path(), BACKGROUND, tags=() if tags else None)
    if tags:
        template = replace(template, label="", events=() if events else None)
    if source == SYNTHESISED:
        paths = _synthesised(made_in, cache.sample_rate, length, wanted, seed)
        parts = [[replace(template, path=path)] for path in paths]
    else:
        parts = _parts(_folder(source, root), template, cache, length)
        parts = _thinned(parts, wanted)
    shares = np.cumsum([len(part) / total for part in splits])
    dealt: list[list[Clip]] = [[] for _ in splits]
    for number, of_recording in enumerate(parts):
        for index, clip in enumerate(of_recording):
            place = (number + 0.5) / len(parts)
            if len(of_recording) >= DEALT_PARTS:
                place = (index + 0.5) / len(of_recording)
            dealt[min(int(np.searchsorted(shares, place)), len(splits) - 1)].append(clip)
    return dealt


def _folder(source: str, root: Path) -> Path:
    for folder in (Path(source), root / source):
        if folder.is_dir():
            return folder
    raise DataError(
        f"data.background is {source!r}; accepted are a folder, also one in {root}, and "
        f"{SYNTHESISED!r}"
    )


def _parts(folder: Path, template: Clip, cache: AudioCache, length: int) -> list[list[Clip]]:
    """The parts of each recording in a folder that can be used."""
    recordings = [replace(template, path=path) for path in audio_files(folder)]
    if not recordings:
        raise DataError(f"{folder}: holds no recordings of background")
    report = check_clips(recordings, cache, min_classes=0)
    parts = []
    for clip, samples in zip(report.kept, report.samples, strict=True):
        count = samples // length
        seconds = length / cache.sample_rate
        times = [(i * seconds, (i + 1) * seconds) for i in range(count)]
        parts.append([replace(clip, start=a, end=b) for a, b in times] or [clip])
    return parts


def _thinned(parts: list[list[Clip]], wanted: int) -> list[list[Clip]]:
    """Of each recording about the same share of its parts, evenly; `wanted` in all if they are."""
    step = max(1.0, sum(map(len, parts)) / wanted)
    kept, position = [], 0.0
    for of_recording in parts:
        chosen = []
        while position < len(of_recording):
            chosen.append(of_recording[math.floor(position)])
            position += step
        position -= len(of_recording)
        if chosen:
            kept.append(chosen)
    return kept


def _synthesised(made_in: Path, rate: int, samples: int, count: int, seed: int) -> list[Path]:
    """Files of made background, each of which depends on seed, size and its number alone."""
    folder = made_in / f"{rate}-{samples}-{seed}"
    paths = [folder / f"{number}.wav" for number in range(count)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(paths):
            if not path.exists():
                rng = np.random.default_rng(seed_of(seed, "background", number))
                kind = KINDS[number % len(KINDS)]
                loudness = 10 ** (rng.uniform(QUIETEST_DB, LOUDEST_DB) / 20)
                sound = loudness * unit(kind(rng, samples, rate))
                wav = wav_of(np.clip(sound, -1, 1).astype(np.float32), rate, "PCM_16")
                replace_file(path, wav)
    except OSError as error:
        raise DataError(f"{folder}: background can't be written ({error.strerror})") from error
    return paths


def _noise(rng: Rng, samples: int, rate: int) -> Array:
    """Falling by 0 to 12 dB an octave: from white noise to that of wind."""
    power = rng.uniform(0, 2)
    white = rng.standard_normal(samples)
    return filtered(white, rate, lambda f: np.maximum(f, 20.0) ** -power)


def _hum(rng: Rng, samples: int, rate: int) -> Array:
    """Of the mains or a machine, in noise."""
    pitch, t = rng.choice([50.0, 60.0, log_uniform(rng, 30, 300)]), seconds_of(samples, rate)
    sound = 0.1 * unit(_noise(rng, samples, rate))
    for harmonic in range(1, 1 + min(12, int(rate / 2 / pitch))):
        phase = rng.uniform(0, 2 * np.pi)
        sound += rng.uniform(0, 1) / harmonic * np.sin(2 * np.pi * harmonic * pitch * t + phase)
    return sound


def _tone(rng: Rng, samples: int, rate: int) -> Array:
    """Of one pitch, or gliding."""
    t = seconds_of(samples, rate)
    first, last = (log_uniform(rng, 60, 0.4 * rate) for _ in range(2))
    last = first if rng.random() < 0.5 else last
    pitch = first + (last - first) * t / max(samples / rate, 1e-9)
    return np.sin(2 * np.pi * np.cumsum(pitch) / rate) + 0.01 * rng.standard_normal(samples)


def _clicks(rng: Rng, samples: int, rate: int) -> Array:
    """Of somebody who handles the microphone."""
    sound = 0.003 * rng.standard_normal(samples)
    for at in rng.integers(0, samples, 1 + rng.poisson(3 * samples / rate)):
        ringing = min(samples - at, max(1, int(rate * rng.uniform(0.002, 0.03))))
        decay = np.exp(-5 * np.arange(ringing) / ringing)
        sound[at : at + ringing] += rng.uniform(0.2, 1) * decay * rng.standard_normal(ringing)
    return sound


KINDS: tuple[Callable[[Rng, int, int], Array], ...] = (_noise, _hum, _noise, _tone, _clicks)
