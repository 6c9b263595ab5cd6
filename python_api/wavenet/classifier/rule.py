"""How a model's logits become labels, and what they are called where no label is meant."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# What is said of sound that is none of the classes, and where there is none.
UNKNOWN = "unknown"
SILENCE = "silence"
USUAL_OF_TAGS = 0.5


@dataclass(frozen=True)
class Rule:
    """Which of its labels a model means.

    Attributes:
        labels: logit i belongs to labels[i].
        tags: any number of them may be right, each with a probability of its own; else one is.
        thresholds: a label with less probability than its own is not meant; empty: 0.5 of tags,
            0 of classes.
        background: the label that stands for none of the others; empty: there is none.
    """

    labels: tuple[str, ...]
    tags: bool = False
    thresholds: tuple[float, ...] = ()
    background: str = ""

    @property
    def least(self) -> tuple[float, ...]:
        """The threshold of each label."""
        usual = USUAL_OF_TAGS if self.tags else 0.0
        return self.thresholds or (usual,) * len(self.labels)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., classes), float32."""
        return logits.float().sigmoid() if self.tags else logits.float().softmax(-1)

    def top(self, probabilities: Tensor, count: int) -> list[tuple[str, float]]:
        """The `count` likeliest labels (all, if they are fewer), likeliest first."""
        values, indices = probabilities.topk(min(count, len(self.labels)))
        return [(self.labels[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]

    def meant(
        self, probabilities: Tensor, min_probability: float | None = None
    ) -> list[tuple[str, float]]:
        """Of classes the likeliest, of tags all that reach their thresholds, likeliest first.

        Args:
            probabilities: (classes,).
            min_probability: in place of the thresholds.
        """
        likeliest = self.top(probabilities, len(self.labels) if self.tags else 1)
        least = dict(zip(self.labels, self.least, strict=True))
        return [
            (label, p)
            for label, p in likeliest
            if p >= (least[label] if min_probability is None else min_probability)
        ]

    def label(self, probabilities: Tensor) -> str:
        """The likeliest that is meant, or `UNKNOWN`."""
        meant = self.meant(probabilities)
        return meant[0][0] if meant else UNKNOWN
