"""Which clips an evaluation of a run is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wavenet.classifier.data import AudioCache, Clip, check_clips, find_clips, select
from wavenet.classifier.model import WaveNetConfig
from wavenet.classifier.training.config import DataConfig, load_config
from wavenet.classifier.training.loop import CLIPS_NAME, CONFIG_NAME
from wavenet.classifier.training.prepare import read_clips_table
from wavenet.errors import ConfigError

SPLITS = ("train", "validation", "test", "all")


@dataclass(frozen=True)
class Chosen:
    """The clips, where they come from, and why some of that split are not among them."""

    clips: list[Clip]
    cache: AudioCache
    source: str
    split: str
    max_samples: int | None
    skipped: list[str]


def clips_to_evaluate(
    run: Path, model: WaveNetConfig, data: Path | None, split: str | None
) -> Chosen:
    """The clips of a split, of the run's own data or of other recordings.

    Args:
        run: the run folder. Its clips.csv says which clips were in which split.
        model: the model's configuration: labels and sample rate.
        data: recordings to use instead, with splits of their own or without any.
        split: one of "train", "validation", "test" and "all"; None: test if there is one, else
            validation for the run's own data and all of other recordings.

    Raises:
        ConfigError, DataError: no such split, no data.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(f"--split is {split!r}; accepted are {', '.join(SPLITS)}")
    config = load_config(run / CONFIG_NAME).data if (run / CONFIG_NAME).is_file() else DataConfig()
    if data is not None:
        clips = find_clips(data, min_classes=1)
    elif (run / CLIPS_NAME).is_file():
        clips = read_clips_table(run / CLIPS_NAME)
    else:
        raise ConfigError(f"{run}: does not say which data it was trained on; give --data")
    if split is None:
        has_test = any(clip.split == "test" for clip in clips)
        split = "test" if has_test else "validation" if data is None else "all"
    wanted = clips if split == "all" else select(clips, split=split)
    cache = AudioCache(config.cache or None, model.sample_rate)
    report = check_clips(wanted, cache, labels=model.labels, min_classes=1)
    return Chosen(
        report.kept,
        cache,
        str(data or config.source),
        split,
        config.max_samples(model.sample_rate),
        [skipped.reason for skipped in report.skipped],
    )
