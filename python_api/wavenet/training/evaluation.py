"""Which clips an evaluation of a run is about."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from wavenet.data import AudioCache, Clip, check_clips, find_clips
from wavenet.models import WaveNetConfig
from wavenet.training.config import ConfigError, RunConfig, load_config
from wavenet.training.loop import CONFIG_NAME
from wavenet.training.prepare import split_named

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
    """The clips of a split, made with the run's own data section, so that it is the same split.

    Args:
        run: the run folder; without a resolved config in it, `data` must be given.
        model: the model's configuration: labels and sample rate.
        data: recordings to use instead of the run's.
        split: one of "train", "validation", "test" and "all"; None: test if there is one, else
            validation if the recordings are the run's, else all.

    Raises:
        ConfigError, DataError: no such split, no data.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(f"--split is {split!r}; accepted are {', '.join(SPLITS)}")
    saved = run / CONFIG_NAME
    config = load_config(saved) if saved.is_file() else RunConfig()
    if data is None and not config.data.source:
        raise ConfigError(f"{run}: does not say which data it was trained on; give --data")
    section = config.data
    if data is not None:
        section = dataclasses.replace(section, source=str(data))
    cache = AudioCache(section.cache or None, model.sample_rate)
    clips = find_clips(Path(section.source))
    seed = config.training.seed
    if split is None:
        own = data is None or str(data) == config.data.source
        has_test = bool(section.leave_out_group) or any(clip.split == "test" for clip in clips)
        split = "test" if has_test else "validation" if own else "all"
    # The run split the clips that it had found good; the same ones make the same split.
    report = check_clips(clips, cache, labels=model.labels, min_classes=1)
    chosen = split_named(report.kept, split, section, seed)
    skipped = [s.reason for s in report.skipped if split == "all" or s.clip.split in (None, split)]
    seconds = section.max_seconds
    max_samples = max(1, round(seconds * model.sample_rate)) if seconds else None
    return Chosen(chosen, cache, section.source, split, max_samples, skipped)
