"""From the data section of a configuration to checked clips: for training, validation, test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wavenet.classifier.data.background import BACKGROUND, SYNTHESISED, background_of
from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.clip_check import CheckReport, check_clips
from wavenet.classifier.data.clips import Clip, labels_of
from wavenet.classifier.data.events import find_events
from wavenet.classifier.data.find import find_clips
from wavenet.classifier.data.group_folds import fold_groups
from wavenet.classifier.data.label_map import merge_labels, read_label_map
from wavenet.classifier.data.manifest import parse_columns
from wavenet.classifier.data.splits import (
    are_parts,
    grouped_by_recording,
    select,
    split_validation,
)
from wavenet.errors import DataError, require_field

# Of the test part: runs with different seeds are compared on the same clips.
TEST_SEED = 0


@dataclass(frozen=True)
class DataConfig:
    """Which recordings are used, and for what.

    Attributes:
        source: a folder with a sub-folder per class, or a manifest; see `find_clips`.
        columns: what a manifest's columns are called, "path=NAME,label=NAME,...", where it is none
            of the names that are known.
        label_separator: stands between the labels of a clip that has several: the model then says
            of each label whether it is heard; empty: every clip has one label.
        events: labels have times (`onset` and `offset` in a manifest, or Audacity's label tracks;
            see `find_events`): the model says from when to when each is heard. Of a generative
            model they are the notes that it is conditioned on.
        label_map: a table `label,to` that merges, renames or leaves out labels; see
            `read_label_map`.
        background: a folder (also one in the source, as `_background_noise_`) of recordings in
            which none of the classes is heard, or "synthesised" noise, hum, tones and clicks: they
            are cut and become a class of their own, `background`, of tags clips without any.
        channel: which one of each recording is heard, counted from 1; 0: the mean of all.
        test_fraction: the part of the clips that is tested on, where the data has no test split of
            its own; 0: none. Which clips these are doesn't depend on training.seed.
        validation_fraction: the part of the training clips that the best checkpoint is chosen on,
            where the data has no validation split of its own.
        validation_by_group: split these parts off by whole groups (speakers, say) where all clips
            have one, and there are several; where none has one, clips of one recording are one.
        leave_out_group: train on all clips but this group's, whatever their split; they are the
            test set.
        leave_out_fold: the same with a fold; one of the two can be left out.
        group_folds: the folds are so many, "1", "2", ..., made of whole groups; 0: they are those
            of the data.
        max_seconds: of longer clips so much is heard at a time, at random in training and the
            middle otherwise; 0: all of them.
        crop_seconds: in training of a generative model so much of a clip is predicted at a time;
            0: max_seconds.
        context: what comes before that part is heard, too, as far as the receptive field reaches;
            else a part is learned as if nothing came before it. Of a WaveNet.
        normalize_mel: a generative model's mel-spectrograms have mean 0 and deviation 1 in each
            channel over the training clips; the model keeps those numbers.
        licence: of the recordings, for the model card.
        cache: folder for decoded clips; empty: the user's cache folder.
        workers: processes that load clips; 0: the training process itself.
    """

    source: str = ""
    columns: str = ""
    label_separator: str = ""
    events: bool = False
    label_map: str = ""
    background: str = ""
    channel: int = 0
    test_fraction: float = 0.0
    validation_fraction: float = 0.1
    validation_by_group: bool = True
    leave_out_group: str = ""
    leave_out_fold: str = ""
    group_folds: int = 0
    max_seconds: float = 10.0
    crop_seconds: float = 0.0
    context: bool = False
    normalize_mel: bool = False
    licence: str = ""
    cache: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
        require_field(0 <= self.test_fraction < 1, self, "test_fraction", "0 (none), or below 1")
        require_field(
            0 < self.validation_fraction < 1, self, "validation_fraction", "between 0 and 1"
        )
        one = not (self.leave_out_fold and self.leave_out_group)
        require_field(one, self, "leave_out_fold", "empty where leave_out_group is not")
        require_field(
            self.group_folds == 0 or self.group_folds >= 2, self, "group_folds", "0, or 2 or more"
        )
        require_field(self.max_seconds >= 0, self, "max_seconds", "0 (never crop) or more")
        require_field(self.crop_seconds >= 0, self, "crop_seconds", "0 (max_seconds) or more")
        require_field(self.workers >= 0, self, "workers", "0 or more")
        require_field(self.channel >= 0, self, "channel", "0 (the mean of all), 1, 2, ...")
        one = not (self.events and self.label_separator)
        require_field(one, self, "label_separator", "empty where events is true")
        parse_columns(self.columns)

    @property
    def tags(self) -> bool:
        """Whether a clip may have several labels."""
        return self.events or bool(self.label_separator)

    def from_anywhere(self) -> DataConfig:
        """The same with absolute paths of `label_map` and of a `background` that is here."""
        label_map = str(Path(self.label_map).resolve()) if self.label_map else ""
        here = self.background not in ("", SYNTHESISED) and Path(self.background).is_dir()
        background = str(Path(self.background).resolve()) if here else self.background
        return replace(self, label_map=label_map, background=background)

    def max_samples(self, sample_rate: int) -> int | None:
        """The longest clip in samples; None: as long as it is."""
        return max(1, round(self.max_seconds * sample_rate)) if self.max_seconds else None


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
    if config.group_folds:
        clips = fold_groups(clips, config.group_folds)
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

    def split_off(part: str, fraction: float, seed: int) -> tuple[list[Clip], list[Clip]]:
        known = grouped_by_recording(rest) if are_parts(rest) else rest
        groups = {clip.group for clip in known}
        by_group = config.validation_by_group and len(groups) > 1 and None not in groups
        kept, taken = split_validation(known, fraction, seed, by_group=by_group, part=part)
        clip_of = dict(zip(known, rest, strict=True))
        return [clip_of[clip] for clip in kept], [clip_of[clip] for clip in taken]

    if not test and config.test_fraction:
        rest, test = split_off("test", config.test_fraction, TEST_SEED)
    if not validation:
        rest, validation = split_off("validation", config.validation_fraction, seed)
    return Splits(rest, validation, test)


def find_labelled(config: DataConfig, source: Path, *, min_classes: int = 2) -> list[Clip]:
    """The recordings of a data set with the labels that they have for a run; see `find_clips`.

    Args:
        config: says what columns are called, and what becomes of labels.
        source: where they are, its `source` or another.
        min_classes: fewer distinct labels than this are an error.

    Raises:
        DataError: what `find_clips` finds, or no clip is left.
    """
    separator, columns = config.label_separator, parse_columns(config.columns)
    if config.events:
        clips = find_events(source, columns=columns)
    else:
        least = 1 if config.label_map else min_classes
        clips = find_clips(
            source,
            columns=columns,
            separator=separator,
            min_classes=least,
            background=config.background,
        )
    if not config.label_map:
        return clips
    clips = merge_labels(clips, read_label_map(Path(config.label_map)), separator)
    if len(labels := labels_of(clips)) < min_classes:
        raise DataError(
            f"{config.label_map}: leaves {len(labels)} labels of {source} ({', '.join(labels)}); "
            f"at least {min_classes} are needed"
        )
    return clips


def prepare_data(
    config: DataConfig,
    sample_rate: int,
    receptive_field: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    label_of: Callable[[Clip], str] | None = None,
    classes: int = 2,
    made_in: Path | None = None,
) -> PreparedData:
    """Find, check, decode and split the clips, before the first training step.

    Args:
        config: the data section.
        sample_rate: of the model, in Hz.
        receptive_field: of the model, in samples; shorter clips are counted in the report.
        seed: of the validation part.
        progress: called with (clips read, clips in all).
        label_of: what of a clip is its label; None: what the data says.
        classes: so many labels the training clips have at least, and validation and test no
            others. 0: labels are of no use.
        made_in: folder for background that is synthesised; None: one in the cache.

    Raises:
        DataError: no usable data; the message names the file or folder and what is wrong.
    """
    least = max(1, classes)
    if config.tags:
        least = 1  # which is heard, or is not
    clips = find_labelled(config, Path(config.source), min_classes=min(least, classes))
    if label_of is not None:
        clips = [replace(clip, label=label_of(clip), tags=None) for clip in clips]
    cache = AudioCache(config.cache or None, sample_rate, channel=config.channel)
    report = check_clips(
        clips, cache, min_samples=receptive_field, min_classes=least, progress=progress
    )
    splits = split_clips(report.kept, config, seed)
    if config.background and classes:
        splits = _with_background(
            splits, config, cache, report, seed, made_in or cache.folder / BACKGROUND
        )
    labels = tuple(labels_of(splits.train))
    if len(labels) < least:
        raise DataError(f"{config.source}: the training clips have one class only, {labels[0]!r}")
    for name, part in (("validation", splits.validation), ("test", splits.test)):
        strange = sorted(set(labels_of(part)) - set(labels))
        if strange and classes:
            raise DataError(
                f"{config.source}: the {name} clips have labels that no training clip has: "
                f"{', '.join(strange[:5])}"
            )
    return PreparedData(splits, labels, cache, report)


def _with_background(
    splits: Splits,
    config: DataConfig,
    cache: AudioCache,
    report: CheckReport,
    seed: int,
    made_in: Path,
) -> Splits:
    root = Path(config.source)
    parts = (splits.train, splits.validation, splits.test)
    more = background_of(
        config.background,
        root if root.is_dir() else root.parent,
        parts,
        report.samples,
        cache,
        made_in=made_in,
        tags=config.tags,
        events=config.events,
        seed=seed,
    )
    report.notes.append(
        f"{sum(map(len, more))} clips of background ({config.background}) are added"
    )
    return Splits(*([*clips, *others] for clips, others in zip(parts, more, strict=True)))
