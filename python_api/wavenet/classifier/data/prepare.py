"""From the data section of a configuration to checked clips: for training, validation, test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.clip_check import CheckReport, check_clips
from wavenet.classifier.data.clips import Clip, labels_of
from wavenet.classifier.data.find import find_clips
from wavenet.classifier.data.group_folds import fold_groups
from wavenet.classifier.data.manifest import parse_columns
from wavenet.classifier.data.splits import select, split_validation
from wavenet.errors import DataError, require_field


@dataclass(frozen=True)
class DataConfig:
    """Which recordings are used, and for what.

    Attributes:
        source: a folder with a sub-folder per class, or a manifest; see `find_clips`.
        columns: what a manifest's columns are called, "path=NAME,label=NAME,...", where it is none
            of the names that are known.
        channel: which one of each recording is heard, counted from 1; 0: the mean of all.
        validation_fraction: the part of the training clips that the best checkpoint is chosen on,
            where the data has no validation split of its own.
        validation_by_group: split that part off by whole groups (speakers, say) where all clips
            have one, and there are several.
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
        cache: folder for decoded clips; empty: the user's cache folder.
        workers: processes that load clips; 0: the training process itself.
    """

    source: str = ""
    columns: str = ""
    channel: int = 0
    validation_fraction: float = 0.1
    validation_by_group: bool = True
    leave_out_group: str = ""
    leave_out_fold: str = ""
    group_folds: int = 0
    max_seconds: float = 10.0
    crop_seconds: float = 0.0
    context: bool = False
    normalize_mel: bool = False
    cache: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
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
        parse_columns(self.columns)

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
    if not validation:
        groups = {clip.group for clip in rest}
        by_group = config.validation_by_group and len(groups) > 1 and None not in groups
        rest, validation = split_validation(
            rest, config.validation_fraction, seed, by_group=by_group
        )
    return Splits(rest, validation, test)


def prepare_data(
    config: DataConfig,
    sample_rate: int,
    receptive_field: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    label_of: Callable[[Clip], str] | None = None,
    classes: int = 2,
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

    Raises:
        DataError: no usable data; the message names the file or folder and what is wrong.
    """
    least = max(1, classes)
    clips = find_clips(
        Path(config.source), columns=parse_columns(config.columns), min_classes=least
    )
    if label_of is not None:
        clips = [replace(clip, label=label_of(clip)) for clip in clips]
    cache = AudioCache(config.cache or None, sample_rate, channel=config.channel)
    report = check_clips(
        clips, cache, min_samples=receptive_field, min_classes=least, progress=progress
    )
    splits = split_clips(report.kept, config, seed)
    labels = tuple(labels_of(splits.train))
    if len(labels) < least:
        raise DataError(f"{config.source}: the training clips have one class only, {labels[0]!r}")
    for name, part in (("validation", splits.validation), ("test", splits.test)):
        strange = sorted({clip.label for clip in part} - set(labels))
        if strange and classes:
            raise DataError(
                f"{config.source}: the {name} clips have labels that no training clip has: "
                f"{', '.join(strange[:5])}"
            )
    return PreparedData(splits, labels, cache, report)
