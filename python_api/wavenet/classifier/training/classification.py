"""Training of a classifier."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

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
from wavenet.classifier.inference import Metrics, evaluate
from wavenet.classifier.inference.loading import start_from
from wavenet.classifier.memory import training_bytes
from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.run_folder import Row
from wavenet.classifier.training.checkpoint import RunState
from wavenet.classifier.training.display import RunLog
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.processes import sum_over_processes
from wavenet.classifier.training.tasks import Source, Task


class Classification(Task):
    """Clips have labels; an epoch is as good as its accuracy."""

    def prepare(self, progress: Callable[[int, int], None]) -> PreparedData:
        model, seed = self.config.architecture, self.config.training.seed
        return prepare_data(
            self.config.data, model.sample_rate, model.receptive_field, seed, progress
        )

    def model(self, data: PreparedData) -> WaveNetClassifier:
        return WaveNetClassifier(self.config.model_config(data.labels))

    def start_from(self, model: nn.Module) -> None:
        assert isinstance(model, WaveNetClassifier)
        start_from(model, self.config.training.init_from)

    def learner(self, model: nn.Module, accelerator: Accelerator, steps: int) -> Learner:
        return Learner(model, self.config.training, accelerator, steps)

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
        return Source(
            clips=TrainingClips(clips, config.augmentation),
            targets=clips.targets,
            lengths=lengths,
            changed=config.augmentation.lengths(lengths),
            collate=collate_draws,
            finish=Augmenting(augmenter, len(data.labels), device),
            bytes_of=functools.partial(training_bytes, config.architecture),
        )

    def learned(self, state: RunState, model: nn.Module) -> Row:
        return {"loss": state.loss_sum / state.clips, "accuracy": state.correct / state.clips}

    def validate(self, accelerator: Accelerator, model: nn.Module, data: PreparedData) -> Row:
        assert isinstance(model, WaveNetClassifier)
        config = self.config
        metrics = validate(
            accelerator,
            model,
            data.splits.validation,
            data.cache,
            batch_size=config.training.batch_size,
            max_samples=config.data.max_samples(data.cache.sample_rate),
        )
        return {"loss": metrics.loss, "accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1}

    def line(self, row: Row, model: nn.Module, data: PreparedData) -> str:
        labels = Counter(clip.label for clip in data.splits.validation)
        majority = max(labels.values()) / labels.total()
        return (
            f"loss {row['train_loss']:.3f}  accuracy {row['train_accuracy']:.1%}  "
            f"validation loss {row['validation_loss']:.3f}  "
            f"accuracy {row['validation_accuracy']:.1%} (majority {majority:.1%})  "
            f"macro-F1 {row['validation_macro_f1']:.3f}"
        )

    def progress(self, loss: float, correct: float) -> str:
        return f"loss {loss:.3f}  accuracy {correct:.1%}"

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
) -> Metrics:
    """`evaluate` over all processes, each taking its share; all of them get the whole result."""
    classes = len(model.config.labels)
    mine = clips[accelerator.process_index :: accelerator.num_processes]
    counts, loss_sum = np.zeros((classes, classes), dtype=np.int64), 0.0
    if mine:
        metrics = evaluate(model, mine, cache, batch_size=batch_size, max_samples=max_samples)
        counts, loss_sum = metrics.confusion, metrics.loss * len(mine)
    sums = sum_over_processes(
        accelerator, torch.tensor([loss_sum, *counts.ravel()], dtype=torch.float64)
    )
    loss_sum, *flat = sums.tolist()
    confusion = np.array(flat).astype(np.int64).reshape(classes, classes)
    return Metrics(model.config.labels, confusion, loss_sum / len(clips))
