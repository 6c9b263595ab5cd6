"""Writing the synthesised sounds as a data set: WAV files in class folders and a manifest."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from wavenet.audio.opening import soundfile
from wavenet.classifier.data.find import MANIFEST_NAME
from wavenet.classifier.data.synth.scene import SOUNDS, synthesise
from wavenet.errors import DataError

# Says that a folder is ours to replace, and what is in it.
MARKER_NAME = "synth.json"
# Raise it when the same seed would give other sounds.
GENERATOR_VERSION = 1


def write_data_set(
    folder: str | os.PathLike[str],
    *,
    clips_per_class: int = 150,
    validation: float = 0.1,
    test: float = 0.2,
    sample_rate: int = 16000,
    seconds: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Synthesise the ten sounds into `folder`: `<label>/<label>_0000.wav` ... and `manifest.csv`.

    A clip and its split depend on the seed, its label and its number alone: asking for more clips
    adds clips and changes none. The folder appears whole or not at all. A data set that this
    function made is replaced; any other folder with something in it is refused.

    Args:
        folder: where to write.
        clips_per_class: at least 1.
        validation: share of clips in the split "validation", 0 to 1.
        test: share in the split "test", 0 to 1; the rest (not nothing) is "train".
        sample_rate: in Hz, 8000 to 48000.
        seconds: duration of each clip, 0.5 to 60.
        seed: 0 or more; another seed gives other clips.
        progress: called as (clips done, clips in all) after each clip.

    Returns:
        The manifest's path (columns path, label, split).

    Raises:
        DataError: an argument is out of range, or `folder` isn't ours to replace, or can't be
            written.
    """
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
    _require_ours(target)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        rows = []
        splits = list(itertools.islice(_splits(validation, test), clips_per_class))
        for label in SOUNDS:
            (partial / label).mkdir()
            for number, split in enumerate(splits):
                rng = np.random.default_rng([seed, zlib.crc32(label.encode()), number])
                clip = synthesise(label, rng, sample_rate=sample_rate, seconds=seconds)
                name = f"{label}/{label}_{number:04d}.wav"
                codes = np.round(clip * 32767).astype(np.int16)
                wav.write(partial / name, codes, sample_rate, subtype="PCM_16")
                rows.append((name, label, split))
                if progress is not None:
                    progress(len(rows), clips_per_class * len(SOUNDS))
        with open(partial / MANIFEST_NAME, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "label", "split"), *rows])
        made_with = {
            "generator": "wavenet.data.synth",
            "generator_version": GENERATOR_VERSION,
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


def _require_ours(target: Path) -> None:
    """Refuse a folder with anything in it that `write_data_set` didn't write."""
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(f"{target}: is a file; a folder to write the data set into is expected")
    entries = {entry.name for entry in target.iterdir()}
    foreign = entries - {MARKER_NAME, MANIFEST_NAME, *SOUNDS}
    if entries and MARKER_NAME not in entries:
        foreign = foreign or entries
    for label in entries & SOUNDS.keys():
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
