"""Evaluation of a classifier: on which clips, and what its logits for them say."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from wavenet.audio.effects import add_noise
from wavenet.classifier.data import (
    AudioCache,
    Clip,
    ClipDataset,
    DataConfig,
    check_clips,
    collate,
    find_labelled,
    select,
)
from wavenet.classifier.data.clips import Place
from wavenet.classifier.data.seeding import generator
from wavenet.classifier.inference.known_clips import known_splits, root_of
from wavenet.classifier.inference.metrics import Metrics, confusion_matrix
from wavenet.classifier.inference.tag_metrics import TagMetrics
from wavenet.classifier.memory import inference_bytes, samples_within, usual
from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.classifier.run_config import LAST, RunConfig
from wavenet.classifier.run_folder import read_clips, read_config
from wavenet.errors import ConfigError
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.waveglow_config import WaveGlowConfig

# What a batch's layers may take: where clips are long, fewer at a time than `batch_size`.
MEMORY_GB = 2.0
Classify = Callable[[Tensor, Tensor], Tensor]
SPLITS = ("train", "validation", "test", "all")


@dataclass(frozen=True)
class EvaluationClips:
    """The clips, where they come from, and why some of that split are not among them.

    `unknown` counts clips that were left out because the model does not know their label; they are
    among those of `skipped`, the reasons. `trained_on` counts the clips that the run learned from,
    `chosen_on` those that its best epoch was chosen on. Clips with more than `max_samples` are
    cropped, but of a model of events (None): the labels are those of whole recordings.
    """

    clips: list[Clip]
    cache: AudioCache
    source: str
    split: str
    max_samples: int | None
    skipped: list[str]
    unknown: dict[str, int] = field(default_factory=dict)
    trained_on: int = 0
    chosen_on: int = 0
    moved: bool = False

    @property
    def description(self) -> dict[str, Any]:
        """For the JSON files: what figures are about, and what they leave out."""
        return {
            "data": self.source,
            "split": self.split,
            "left_out": len(self.skipped),
            "unknown_labels": self.unknown,
            "trained_on": self.trained_on,
            "chosen_on": self.chosen_on,
        }

    def remarks(self) -> list[str]:
        """What somebody who reads the figures has to know, a line each."""
        lines = []
        if self.skipped:
            lines.append(
                f"{len(self.skipped)} of {len(self.skipped) + len(self.clips)} clips are left out "
                "of all figures"
            )
        if self.unknown:
            named = ", ".join(f"{label} ({count})" for label, count in self.unknown.items())
            lines[-1] += (
                f", {sum(self.unknown.values())} of them with labels that the model does not "
                f"know: {named}"
            )
        if self.moved:
            lines.append("the recordings are the run's own, moved: its splits are gone by")
        if self.trained_on and self.split != "train":
            lines.append(
                f"{self.trained_on} of {len(self.clips)} clips are ones that this run was trained "
                "on: the figures flatter it"
            )
        if self.chosen_on and self.split != "train":
            lines.append(
                f"{self.chosen_on} of {len(self.clips)} clips are ones that the best epoch of this "
                "run was chosen on: the figures flatter it a little (clips that were not used for "
                "that: a test split, which data.test_fraction makes where there is none)"
            )
        return lines


def choose_clips(
    run: Path,
    model: WaveNetConfig | GeneratorConfig | WaveGlowConfig,
    data: Path | None,
    split: str | None,
) -> EvaluationClips:
    """The clips of a split, of the run's own data or of other recordings.

    Args:
        run: the run folder. Its clips.csv says which clips were in which split.
        model: the model's configuration: labels, or the speakers of a generative one, and sample
            rate.
        data: recordings to use instead, with splits of their own or without any. If they are those
            of the run, moved elsewhere, the splits are the run's.
        split: one of "train", "validation", "test" and "all"; None: test if there is one, else
            validation for the run's own data and all of other recordings.

    Raises:
        ConfigError, DataError: no such split, no data.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(f"--split is {split!r}; accepted are {', '.join(SPLITS)}")
    config = read_config(run) or RunConfig(data=DataConfig(max_seconds=0))
    of_the_run = read_clips(run, config.data.label_separator)
    if data is not None:
        named = getattr(model, "labels", ()) or getattr(model, "speakers", ())
        clips = find_labelled(config.data, data, min_classes=1 if named else 0)
    elif of_the_run is not None:
        clips, _ = of_the_run
    else:
        raise ConfigError(f"{run}: does not say which data it was trained on; give --data")
    known: dict[Place, str] = {}
    moved = False
    if of_the_run is not None:
        its_root = root_of(config.data.source)
        known, moved = known_splits(clips, root_of(data or its_root), of_the_run[0], its_root)
    if moved and not any(clip.split for clip in clips):
        clips = [replace(clip, split=known[clip.place]) for clip in clips]
        if split is None:
            split = "test" if "test" in known.values() else "validation"
    if split is None:
        has_test = any(clip.split == "test" for clip in clips)
        split = "test" if has_test else "validation" if data is None else "all"
    wanted = clips if split == "all" else select(clips, split=split)
    cache = AudioCache(config.data.cache or None, model.sample_rate, channel=config.data.channel)
    labels: tuple[str, ...] | None = getattr(model, "labels", None)
    if speakers := getattr(model, "speakers", ()):
        labels = speakers
        wanted = [
            replace(c, label=c.label if c.label in labels else c.group or c.label, tags=None)
            for c in wanted
        ]
    report = check_clips(wanted, cache, labels=labels, min_classes=1)
    had = Counter(known.get(clip.place) for clip in report.kept)
    return EvaluationClips(
        report.kept,
        cache,
        str(data or config.data.source),
        split,
        None if getattr(model, "events", False) else config.data.max_samples(model.sample_rate),
        [skipped.reason for skipped in report.skipped],
        dict(
            Counter(
                skipped.clip.label for skipped in report.skipped if skipped.kind == "unknown label"
            )
        ),
        trained_on=had["train"],
        chosen_on=0 if config.training.best_by == LAST else had["validation"],
        moved=moved and data is not None,
    )


def evaluate(
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    cache: AudioCache,
    *,
    batch_size: int = 32,
    max_samples: int | None = None,
    snr_db: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Metrics | TagMetrics:
    """Classify labelled clips and count.

    Args:
        model: in any mode, on any device; it is evaluated in eval mode and left as it was.
        clips: their labels are among the model's.
        cache: reads the clips, at the model's sample rate.
        batch_size: clips at a time, fewer where they are long; they are grouped by length, which
            no result depends on.
        max_samples: clips longer than this are cropped at their centre.
        snr_db: add white noise this many decibels below each clip's mean power; the same noise
            whenever the clips are the same. None: none.
        progress: called with (clips done, clips in all).
    """
    found = classify(
        model,
        clips,
        cache,
        batch_size=batch_size,
        max_samples=max_samples,
        snr_db=snr_db,
        progress=progress,
    )
    return measure(model.config, *found)


def classify(
    model: WaveNetClassifier, clips: Sequence[Clip], cache: AudioCache, **settings: Any
) -> tuple[Tensor, Tensor]:
    """`classify_clips` by the model itself, in eval mode; arguments as of `evaluate`."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        return classify_clips(
            lambda waveform, lengths: model(waveform.to(device), lengths.to(device)),
            model.config,
            clips,
            cache,
            **settings,
        )
    finally:
        model.train(was_training)


@torch.inference_mode()
def classify_clips(
    classify: Classify,
    config: WaveNetConfig,
    clips: Sequence[Clip],
    cache: AudioCache,
    *,
    batch_size: int = 32,
    max_samples: int | None = None,
    snr_db: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """The logits of labelled clips, as anything that maps batches to logits gives them.

    Args:
        classify: waveform (B, T) and lengths (B,) -> logits (B, classes), on any device.
        config: of the model that this is; the clips' labels are among its.
        clips, cache, batch_size, max_samples, snr_db, progress: as of `evaluate`.

    Returns:
        logits float32 (clips, classes), and class indices (clips,) or, of several labels a clip,
        1 where it has a class and 0 elsewhere, (clips, classes); on the CPU, in the clips' order.
    """
    dataset = ClipDataset(clips, config.labels, cache, max_samples=max_samples)
    lengths = dataset.lengths()
    bytes_of = functools.partial(inference_bytes, config, clip_samples=usual(lengths))
    batches = batches_of(lengths, batch_size, samples_within(MEMORY_GB, bytes_of))
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate)
    logits: Tensor | None = None
    done = 0
    for indices, batch in zip(batches, loader, strict=True):
        waveform = batch.waveform
        if snr_db is not None:
            waveform = _with_noise(waveform, batch.lengths, indices, snr_db)
        rows = classify(waveform, batch.lengths).float().cpu()
        if logits is None:
            logits = torch.empty(len(clips), rows.shape[1])
        logits[indices] = rows
        done += len(indices)
        if progress is not None:
            progress(done, len(clips))
    assert logits is not None  # there are clips
    targets = torch.tensor(dataset.targets)
    return logits, targets if dataset.tags is None else dataset.tags[targets]


def batches_of(lengths: Sequence[int], batch_size: int, room: int) -> list[list[int]]:
    """Short clips first, so that there is not much padding; up to `room` samples with it."""
    batches: list[list[int]] = []
    for clip in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = batches[-1] if batches else []
        fits = (len(last) + 1) * lengths[clip] <= room
        if last and len(last) < batch_size and fits:
            last.append(clip)
        else:
            batches.append([clip])
    return batches


def measure(config: WaveNetConfig, logits: Tensor, targets: Tensor) -> Metrics | TagMetrics:
    """What logits say of clips, as `classify_clips` gives both."""
    if not config.tags:
        return metrics_of(logits, targets, config.labels)
    # Clips with one label each are a case of several.
    truth = truth_of(targets, len(config.labels))
    loss = F.binary_cross_entropy_with_logits(logits.double(), truth.double())
    return TagMetrics(
        config.labels,
        truth.numpy() > 0,
        logits.double().sigmoid().numpy(),
        np.array(config.rule.least),
        float(loss),
    )


def truth_of(targets: Tensor, classes: int) -> Tensor:
    """(clips, classes): 1 where a clip has a class; targets as `classify_clips` gives them."""
    return targets if targets.dim() == 2 else F.one_hot(targets, classes)


def metrics_of(logits: Tensor, targets: Tensor, labels: Sequence[str]) -> Metrics:
    """What logits (clips, classes) say about clips of the classes `targets` (clips,)."""
    counts = confusion_matrix(targets.numpy(), logits.argmax(1).numpy(), len(labels))
    loss = float(F.cross_entropy(logits.double(), targets))
    return Metrics(tuple(labels), counts, loss)


def _with_noise(waveform: Tensor, lengths: Tensor, clips: list[int], snr_db: float) -> Tensor:
    """White noise `snr_db` below the mean power of each clip, the padding left as zeros."""
    noisy = waveform.clone()
    for row, length, clip in zip(noisy, lengths.tolist(), clips, strict=True):
        noise = torch.randn(length, generator=generator("evaluation noise", clip))
        row[:length] = add_noise(row[:length], noise, snr_db)
    return noisy
