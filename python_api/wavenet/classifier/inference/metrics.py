"""Classification metrics from a confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavenet.classifier.inference.intervals import as_text, wilson_interval
from wavenet.pictures import new_figure, png_of


@dataclass(frozen=True)
class Metrics:
    """What a confusion matrix says.

    Attributes:
        labels: class names.
        confusion: (classes, classes) counts; row = true class, column = predicted class.
        loss: mean cross-entropy in nats.
    """

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    loss: float

    @property
    def clips(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of clips whose predicted class is the true one."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of `accuracy`."""
        return wilson_interval(int(np.trace(self.confusion)), self.clips)

    @property
    def figures(self) -> dict[str, float]:
        """All that is one number, by name."""
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "loss": self.loss}

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occur, among the true or the predicted ones."""
        occurs = (self.confusion.sum(0) + self.confusion.sum(1)) > 0
        f1 = np.array([row["f1"] for row in self.per_class])
        return float(f1[occurs].mean())

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """For each class: label, precision, recall, F1 (0 where undefined) and support."""
        hits = np.diag(self.confusion).astype(float)
        predicted, support = self.confusion.sum(0), self.confusion.sum(1)
        precision = hits / np.maximum(predicted, 1)
        recall = hits / np.maximum(support, 1)
        f1 = 2 * hits / np.maximum(predicted + support, 1)
        return [
            {
                "label": label,
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(self.labels)
        ]

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "clips": self.clips,
            **self.figures,
            "accuracy_interval": list(self.interval),
            "per_class": self.per_class,
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }

    def summary(self) -> str:
        """The figures in a line."""
        return (
            f"accuracy {self.accuracy:.2%} (95 %: {as_text(self.interval)}), macro-F1 "
            f"{self.macro_f1:.4f}, loss {self.loss:.4f}"
        )

    def picture(self) -> bytes:
        """The confusion matrix as PNG: colour is the share of the true class, numbers are clips."""
        return draw_confusion(self)


def confusion_matrix(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts (classes, classes) of the pairs (truth, predicted), both class indices (N,)."""
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def draw_confusion(metrics: Metrics) -> bytes:
    """The confusion matrix as PNG: colour is the share of the true class, numbers are clips."""
    classes = len(metrics.labels)
    shares = metrics.confusion / np.maximum(metrics.confusion.sum(1, keepdims=True), 1)
    size = min(4 + 0.45 * classes, 24)
    figure = new_figure(size, size)
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(classes), metrics.labels, rotation=90)
    axis.set_yticks(range(classes), metrics.labels)
    for name in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        name.set_parse_math(False)  # a dollar sign in a label is one
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(f"{metrics.accuracy:.1%} of {metrics.clips} clips")
    if classes <= 40:  # beyond that numbers overlap
        for row, column in zip(*np.nonzero(metrics.confusion), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = int(metrics.confusion[row, column])
            axis.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    return png_of(figure)
