"""Training of a classifier."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from wavenet.classifier.data import (
    AudioCache,
    Augmenter,
    Augmenting,
    Clip,
    ClipDataset,
    PreparedData,
    TrainingClips,
    collate_draws,
    prepare_data,
)
from wavenet.classifier.data.clips import rarest_labels
from wavenet.classifier.inference.evaluate import classify, measure, truth_of
from wavenet.classifier.inference.events import frame_thresholds, hear, measure_events
from wavenet.classifier.inference.loading import start_from
from wavenet.classifier.inference.thresholds import chosen_thresholds
from wavenet.classifier.memory import training_bytes, usual
from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.run_folder import MADE_NAME, Row
from wavenet.classifier.training.checkpoint import RunState
from wavenet.classifier.training.display import RunLog
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.losses import class_weights
from wavenet.classifier.training.processes import sum_over_processes
from wavenet.classifier.training.tasks import Source, Task


class Classification(Task):
    """Clips have labels; an epoch is as good as its accuracy, or of tags their precision."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.tags = config.data.tags
        self.events = config.data.events
        self.weights: Tensor | None = None

    def prepare(
        self, progress: Callable[[int, int], None], run: Path | None = None
    ) -> PreparedData:
        model = self.config.architecture
        return prepare_data(
            self.config.data,
            model.sample_rate,
            model.receptive_field,
            self.config.training.seed,
            progress,
            made_in=run and run / MADE_NAME,
        )

    def model(self, data: PreparedData) -> WaveNetClassifier:
        power = self.config.training.class_weights
        self.weights = class_weights(data.splits.train, data.labels, power, self.tags)
        return WaveNetClassifier(self.config.model_config(data.labels))

    def start_from(self, model: nn.Module) -> None:
        assert isinstance(model, WaveNetClassifier)
        start_from(model, self.config.training.init_from)

    def learner(self, model: nn.Module, accelerator: Accelerator, steps: int) -> Learner:
        return Learner(model, self.config.training, accelerator, steps, self.weights)

    def source(self, data: PreparedData, device: torch.device) -> Source:
        config = self.config
        clips = ClipDataset(
            data.splits.train,
            data.labels,
            data.cache,
            training=True,
            max_samples=config.data.max_samples(data.cache.sample_rate),
            seed=config.training.seed,
        )
        lengths = clips.lengths()
        augmenter = Augmenter(config.augmentation, data.cache)
        shape = config.model_config(data.labels)
        frame_samples = shape.frame_samples if self.events else 0
        targets = clips.targets
        if self.tags:  # one is drawn for the rarest of its tags
            names = rarest_labels(clips.clips)
            index_of = {name: index for index, name in enumerate(sorted(set(names)))}
            targets = [index_of[name] for name in names]
        changed = config.augmentation.lengths(lengths)
        return Source(
            clips=TrainingClips(clips, config.augmentation, frame_samples),
            targets=targets,
            lengths=lengths,
            changed=changed,
            collate=collate_draws,
            finish=Augmenting(augmenter, len(data.labels), device, clips.tags),
            bytes_of=functools.partial(
                training_bytes, config.architecture, clip_samples=usual(changed)
            ),
        )

    def learned(self, state: RunState, model: nn.Module) -> Row:
        share = "exact" if self.tags else "accuracy"
        return {"loss": state.loss_sum / state.clips, share: state.correct / state.clips}

    def validate(self, accelerator: Accelerator, model: nn.Module, data: PreparedData) -> Row:
        assert isinstance(model, WaveNetClassifier)
        config = self.config
        if self.events:
            return validate_events(accelerator, model, data)
        logits, targets = validate(
            accelerator,
            model,
            data.splits.validation,
            data.cache,
            batch_size=config.training.batch_size,
            max_samples=config.data.max_samples(data.cache.sample_rate),
        )
        thresholds = chosen_thresholds(model.config, logits, targets, config.training.rejection)
        model.config = dataclasses.replace(model.config, thresholds=thresholds)
        return measure(model.config, logits, targets).figures

    def line(self, row: Row, model: nn.Module, data: PreparedData) -> str:
        loss = f"loss {row['train_loss']:.3f}  "
        if self.events:
            return (
                f"{loss}validation loss {row['validation_loss']:.3f}  "
                f"segment-F1 {row['validation_segment_f1']:.3f}  "
                f"event-F1 {row['validation_event_f1']:.3f}"
            )
        if self.tags:
            return (
                f"{loss}validation loss {row['validation_loss']:.3f}  "
                f"mAP {row['validation_map']:.3f}  AUC {row['validation_auc']:.3f}  "
                f"F1 {row['validation_macro_f1']:.3f}"
            )
        labels = Counter(clip.label for clip in data.splits.validation)
        majority = max(labels.values()) / labels.total()
        return (
            f"{loss}accuracy {row['train_accuracy']:.1%}  "
            f"validation loss {row['validation_loss']:.3f}  "
            f"accuracy {row['validation_accuracy']:.1%} (majority {majority:.1%})  "
            f"macro-F1 {row['validation_macro_f1']:.3f}"
        )

    def progress(self, loss: float, correct: float) -> str:
        return f"loss {loss:.3f}  {'all tags right' if self.tags else 'accuracy'} {correct:.1%}"

    def leave(self, model: nn.Module, data: PreparedData, row: Row, log: RunLog) -> None:
        """Nothing more."""


def validate(
    accelerator: Accelerator,
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    cache: AudioCache,
    *,
    batch_size: int,
    max_samples: int | None,
) -> tuple[Tensor, Tensor]:
    """`classify_clips` over all processes, each taking its share; all of them get the whole."""
    labels = model.config.labels
    first, step = accelerator.process_index, accelerator.num_processes
    mine = clips[first::step]
    width = len(labels)
    # Logits beside what is true, as both are needed everywhere.
    rows = torch.zeros(len(clips), 2 * width, dtype=torch.float64)
    if mine:
        logits, targets = classify(
            model, mine, cache, batch_size=batch_size, max_samples=max_samples
        )
        rows[first::step] = torch.cat([logits.double(), truth_of(targets, width).double()], 1)
    rows = sum_over_processes(accelerator, rows)
    truth = rows[:, width:]
    return rows[:, :width].float(), truth.float() if model.config.tags else truth.argmax(1)


def validate_events(
    accelerator: Accelerator, model: WaveNetClassifier, data: PreparedData
) -> dict[str, float]:
    """Choose the thresholds and measure, over whole recordings, each process taking its share."""
    clips = data.splits.validation
    mine = hear(model, clips[accelerator.process_index :: accelerator.num_processes], data.cache)
    heard = gather_object(mine) if accelerator.num_processes > 1 else mine
    # In one order, whoever heard them.
    heard = sorted(heard, key=lambda one: one.clip.name)
    model.config = dataclasses.replace(model.config, thresholds=frame_thresholds(heard))
    return measure_events(model.config, heard).figures
