"""A classifier's decision about a stretch of a recording."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Decision:
    """What the classifier makes of the time from `start` to `end`, in seconds of the recording.

    `logits` is float32 (classes,) on the CPU; logit i belongs to labels[i].
    """

    start: float
    end: float
    logits: Tensor
    labels: tuple[str, ...]

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.labels[int(self.logits.argmax())]

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return float(self.logits.softmax(0).max())

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` likeliest classes with their probabilities, best first."""
        return top_classes(self.logits, self.labels, count)


def top_classes(logits: Tensor, labels: tuple[str, ...], count: int) -> list[tuple[str, float]]:
    """The `count` likeliest classes (all of them if they are fewer) with their probabilities."""
    values, indices = logits.float().softmax(0).topk(min(count, len(labels)))
    return [(labels[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]
