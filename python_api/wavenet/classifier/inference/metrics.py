"""Classification metrics from a confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "per_class": self.per_class,
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }


def confusion_matrix(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts (classes, classes) of the pairs (truth, predicted), both class indices (N,)."""
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)
