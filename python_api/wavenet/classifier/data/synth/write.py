"""Writing synthesised sounds or melodies as a data set: WAV files in folders and a manifest."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavenet.audio.opening import soundfile
from wavenet.classifier.data.layouts import MANIFEST_NAME
from wavenet.classifier.data.synth.dsp import Rng
from wavenet.classifier.data.synth.melodies import INSTRUMENTS, melody
from wavenet.classifier.data.synth.scene import SOUNDS, require_limits, synthesise
from wavenet.errors import DataError

# Says that a folder is ours to replace, and what is in it.
MARKER_NAME = "synth.json"
# Raise it when the same seed would give other sounds.
GENERATOR_VERSION = 1

# Samples of a clip, and its rows in the manifest but for path and split.
Made = tuple[NDArray[np.float32], list[tuple[Any, ...]]]


class Kind(NamedTuple):
    """What a data set is of.

    Attributes:
        labels: a folder each.
        columns: of the manifest, between path and split.
        make: a clip of a label, by random numbers, of a rate and seconds.
    """

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    make: Callable[[str, Rng, int, float], Made]


def _sound(label: str, rng: Rng, rate: int, seconds: float) -> Made:
    return synthesise(label, rng, sample_rate=rate, seconds=seconds), [(label,)]


def _melody(label: str, rng: Rng, rate: int, seconds: float) -> Made:
    made = melody(label, rng, sample_rate=rate, seconds=seconds)
    return made.samples, [(note.pitch, note.onset, note.offset, label) for note in made.notes]


KINDS = {
    "sounds": Kind(tuple(SOUNDS), ("label",), _sound),
    "melodies": Kind(tuple(INSTRUMENTS), ("label", "onset", "offset", "group"), _melody),
}


def write_data_set(
    folder: str | os.PathLike[str],
    *,
    kind: str = "sounds",
    clips_per_class: int = 150,
    validation: float = 0.1,
    test: float = 0.2,
    sample_rate: int = 16000,
    seconds: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Synthesise a data set into `folder`: `<label>/<label>_0000.wav` ... and `manifest.csv`.

    Of "sounds" the labels are the ten, of "melodies" the instruments; a melody has a row in the
    manifest for each of its notes, whose label is the pitch and whose group the instrument.

    A clip and its split depend on the seed, its label and its number alone: asking for more clips
    adds clips and changes none. The folder appears whole or not at all. A data set that this
    function made is replaced; any other folder with something in it is refused.

    Args:
        folder: where to write.
        kind: a key of `KINDS`.
        clips_per_class: at least 1.
        validation: share of clips in the split "validation", 0 to 1.
        test: share in the split "test", 0 to 1; the rest (not nothing) is "train".
        sample_rate: in Hz, 8000 to 48000.
        seconds: duration of each clip, 0.5 to 60.
        seed: 0 or more; another seed gives other clips.
        progress: called as (clips done, clips in all) after each clip.

    Returns:
        The manifest's path.

    Raises:
        DataError: an argument is out of range, or `folder` isn't ours to replace, or can't be
            written.
    """
    if kind not in KINDS:
        raise DataError(f"kind is {kind!r}; accepted are {', '.join(KINDS)}")
    require_limits(sample_rate, seconds)
    if clips_per_class < 1:
        raise DataError(f"clips_per_class is {clips_per_class}; at least 1 is accepted")
    if seed < 0:
        raise DataError(f"seed is {seed}; 0 or more is accepted")
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise DataError(
            f"validation is {validation} and test {test}; shares >= 0 that leave something for "
            "training (sum below 1) are accepted"
        )
    wav = soundfile()
    target = Path(folder).resolve()
    labels, columns, make = KINDS[kind]
    _require_ours(target, labels)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        rows: list[tuple[Any, ...]] = []
        done = itertools.count(1)
        splits = list(itertools.islice(_splits(validation, test), clips_per_class))
        for label in labels:
            (partial / label).mkdir()
            for number, split in enumerate(splits):
                rng = np.random.default_rng([seed, zlib.crc32(label.encode()), number])
                clip, described = make(label, rng, sample_rate, seconds)
                name = f"{label}/{label}_{number:04d}.wav"
                codes = np.round(clip * 32767).astype(np.int16)
                wav.write(partial / name, codes, sample_rate, subtype="PCM_16")
                rows += [(name, *fields, split) for fields in described]
                if progress is not None:
                    progress(next(done), clips_per_class * len(labels))
        with open(partial / MANIFEST_NAME, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", *columns, "split"), *rows])
        made_with = {
            "generator": "wavenet.data.synth",
            "generator_version": GENERATOR_VERSION,
            "kind": kind,
            "clips_per_class": clips_per_class,
            "validation": validation,
            "test": test,
            "sample_rate": sample_rate,
            "seconds": seconds,
            "seed": seed,
        }
        (partial / MARKER_NAME).write_text(json.dumps(made_with, indent=2) + "\n")
        _replace(target, partial)
    except (OSError, wav.SoundFileError) as error:
        raise DataError(f"{target}: can't be written ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target / MANIFEST_NAME


def _splits(validation: float, test: float) -> Iterator[str]:
    """The split of clip 0, 1, ...: each time the one that lacks most of its share."""
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    given = dict.fromkeys(shares, 0)
    number = 0
    while True:
        number += 1
        split = max(shares, key=lambda name: round(shares[name] * number - given[name], 9))
        given[split] += 1
        yield split


def _require_ours(target: Path, labels: Sequence[str]) -> None:
    """Refuse a folder with anything in it that `write_data_set` didn't write for these labels."""
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(f"{target}: is a file; a folder to write the data set into is expected")
    entries = {entry.name for entry in target.iterdir()}
    foreign = entries - {MARKER_NAME, MANIFEST_NAME, *labels}
    if entries and MARKER_NAME not in entries:
        foreign = foreign or entries
    for label in sorted(entries & set(labels)):
        if not (target / label).is_dir():
            foreign.add(label)
            continue
        names = {f"{label}/{path.name}" for path in (target / label).iterdir()}
        foreign |= {name for name in names if not _made_by_us(name, label)}
    if foreign:
        raise DataError(
            f"{target}: holds {sorted(foreign)[0]}, which is not of a synthesised data set; give a "
            "new or empty folder, or one that `wavenet synth` made"
        )


def _made_by_us(name: str, label: str) -> bool:
    stem = name.removeprefix(f"{label}/{label}_").removesuffix(".wav")
    return stem.isdecimal() and name == f"{label}/{label}_{stem}.wav"


def _replace(target: Path, partial: Path) -> None:
    """Put the finished folder in place; an older data set goes only after that."""
    if not target.exists():
        partial.rename(target)
        return
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
