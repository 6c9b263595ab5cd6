"""From the data section of a configuration to checked clips: training, validation, test."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wavenet.classifier.data import (
    AudioCache,
    CheckReport,
    Clip,
    check_clips,
    find_clips,
    labels_of,
    select,
    split_validation,
)
from wavenet.classifier.training.config import DataConfig
from wavenet.errors import DataError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Splits:
    """The clips of a run; `test` is empty where the data has no test split."""

    train: list[Clip]
    validation: list[Clip]
    test: list[Clip]


@dataclass(frozen=True)
class PreparedData:
    """What the loop trains on: every clip has been read once and found good."""

    splits: Splits
    labels: tuple[str, ...]
    cache: AudioCache
    report: CheckReport


def split_clips(clips: Sequence[Clip], config: DataConfig, seed: int) -> Splits:
    """Who is trained on, chosen on and tested on; see `DataConfig`.

    Clips without a split in data that has splits are training clips. The validation part never
    comes from the test part.

    Raises:
        DataError: a group or fold that no clip has, or nothing left to train on.
    """
    validation: list[Clip] = []
    if config.leave_out_group:
        test = select(clips, group=config.leave_out_group)
        rest = select(clips, exclude_group=config.leave_out_group)
    elif config.leave_out_fold:
        test = select(clips, fold=config.leave_out_fold)
        rest = select(clips, exclude_fold=config.leave_out_fold)
    else:
        test = [clip for clip in clips if clip.split == "test"]
        validation = [clip for clip in clips if clip.split == "validation"]
        rest = [clip for clip in clips if clip.split not in ("test", "validation")]
    if not rest:
        raise DataError(f"{config.source}: no clip is left to train on; all are in other splits")
    if not validation:
        rest, validation = split_validation(
            rest, config.validation_fraction, seed, by_group=config.validation_by_group
        )
    return Splits(rest, validation, test)


def prepare_data(
    config: DataConfig,
    sample_rate: int,
    receptive_field: int,
    seed: int,
    progress: Progress | None = None,
) -> PreparedData:
    """Find, check, decode and split the clips, before the first training step.

    Args:
        config: the data section.
        sample_rate: of the model, in Hz.
        receptive_field: of the model, in samples; shorter clips are counted in the report.
        seed: of the validation part.
        progress: called with (clips read, clips in all).

    Raises:
        DataError: no usable data; the message names the file or folder and what is wrong.
    """
    clips = find_clips(Path(config.source))
    cache = AudioCache(config.cache or None, sample_rate)
    report = check_clips(clips, cache, min_samples=receptive_field, progress=progress)
    splits = split_clips(report.kept, config, seed)
    labels = tuple(labels_of(splits.train))
    if len(labels) < 2:
        raise DataError(f"{config.source}: the training clips have one class only, {labels[0]!r}")
    known = set(labels)
    for name, part in (("validation", splits.validation), ("test", splits.test)):
        strange = sorted({clip.label for clip in part} - known)
        if strange:
            raise DataError(
                f"{config.source}: the {name} clips have labels that no training clip has: "
                f"{', '.join(strange[:5])}"
            )
    return PreparedData(splits, labels, cache, report)


def clips_table(data: PreparedData) -> str:
    """Every clip of the run as CSV: absolute path, label, split, or why it was skipped.

    The run keeps it as clips.csv: what was trained on is known whatever becomes of the folder.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "label", "split", "skipped"))
    parts = data.splits
    for name, part in (
        ("train", parts.train),
        ("validation", parts.validation),
        ("test", parts.test),
    ):
        table.writerows((clip.path.resolve(), clip.label, name, "") for clip in part)
    for skipped in data.report.skipped:
        clip = skipped.clip
        table.writerow((clip.path.resolve(), clip.label, clip.split or "", skipped.reason))
    return text.getvalue()


def read_clips_table(path: Path) -> list[Clip]:
    """The clips that were not skipped, with their splits."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            Clip(Path(row["path"]), row["label"], row["split"])
            for row in csv.DictReader(file)
            if not row["skipped"]
        ]
