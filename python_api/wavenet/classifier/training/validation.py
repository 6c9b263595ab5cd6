"""Evaluation of the validation part, of which every process takes its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator

from wavenet.classifier.data import AudioCache, Clip
from wavenet.classifier.inference import Metrics, evaluate
from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.training.processes import total


def validate(
    accelerator: Accelerator,
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    cache: AudioCache,
    *,
    batch_size: int,
    max_samples: int | None,
) -> Metrics:
    """`evaluate` over all processes; each of them gets the whole result."""
    classes = len(model.config.labels)
    mine = clips[accelerator.process_index :: accelerator.num_processes]
    counts, loss_sum = np.zeros((classes, classes), dtype=np.int64), 0.0
    if mine:
        found = evaluate(model, mine, cache, batch_size=batch_size, max_samples=max_samples)
        counts, loss_sum = found.confusion, found.loss * len(mine)
    sums = total(accelerator, torch.tensor([loss_sum, *counts.ravel()], dtype=torch.float64))
    loss_sum, *flat = sums.tolist()
    confusion = np.array(flat).astype(np.int64).reshape(classes, classes)
    return Metrics(model.config.labels, confusion, loss_sum / len(clips))
