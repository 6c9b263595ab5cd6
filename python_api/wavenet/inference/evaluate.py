"""Evaluation of a classifier on labelled clips: metrics and the confusion matrix as a picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch.utils.data import DataLoader

from wavenet.data import AudioCache, Clip, ClipDataset, collate
from wavenet.inference.metrics import Metrics, confusion_matrix
from wavenet.models import WaveNetClassifier


@torch.inference_mode()
def evaluate(
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    cache: AudioCache,
    *,
    batch_size: int = 32,
    max_samples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Metrics:
    """Classify labelled clips and count.

    Args:
        model: in any mode, on any device; it is evaluated in eval mode and left as it was.
        clips: their labels are among the model's.
        cache: reads the clips, at the model's sample rate.
        batch_size: clips at a time; they are grouped by length, which no result depends on.
        max_samples: clips longer than this are cropped at their centre.
        progress: called with (clips done, clips in all).
    """
    dataset = ClipDataset(clips, model.config.labels, cache, max_samples=max_samples)
    order = np.argsort(np.array(dataset.lengths()), kind="stable").tolist()
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    truth, predicted, loss_sum = [], [], 0.0
    try:
        for batch in DataLoader(dataset, batch_sampler=batches, collate_fn=collate):
            logits = model(batch.waveform.to(device), batch.lengths.to(device)).float().cpu()
            loss_sum += float(F.cross_entropy(logits, batch.labels, reduction="sum"))
            truth.append(batch.labels)
            predicted.append(logits.argmax(1))
            if progress is not None:
                progress(sum(map(len, truth)), len(clips))
    finally:
        model.train(was_training)
    counts = confusion_matrix(
        torch.cat(truth).numpy(), torch.cat(predicted).numpy(), len(model.config.labels)
    )
    return Metrics(model.config.labels, counts, loss_sum / len(clips))


def confusion_picture(metrics: Metrics) -> bytes:
    """The confusion matrix as PNG: colour is the share of the true class, numbers are clips."""
    classes = len(metrics.labels)
    shares = metrics.confusion / np.maximum(metrics.confusion.sum(1, keepdims=True), 1)
    size = min(4 + 0.45 * classes, 24)
    figure = Figure(figsize=(size, size), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(classes), metrics.labels, rotation=90)
    axis.set_yticks(range(classes), metrics.labels)
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(f"{metrics.accuracy:.1%} of {metrics.clips} clips")
    if classes <= 40:  # beyond that numbers overlap
        for row, column in zip(*np.nonzero(metrics.confusion), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = int(metrics.confusion[row, column])
            axis.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()
