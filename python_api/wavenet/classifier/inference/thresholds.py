"""From which probability on a label is meant, chosen on clips that training did not hear."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wavenet.classifier.inference.intervals import as_text, wilson_interval
from wavenet.classifier.inference.tag_metrics import best_thresholds
from wavenet.classifier.model import WaveNetConfig
from wavenet.classifier.rule import USUAL_OF_TAGS


def chosen_thresholds(
    config: WaveNetConfig, logits: Tensor, targets: Tensor, rejection: float
) -> tuple[float, ...]:
    """A threshold for each label.

    Of tags it is where F1 is highest, class by class. Of classes it is one for all: a `rejection`
    share of the clips that are classified right (rounded down) has less, and is given up for what
    is none of the classes.

    Args:
        config: of the model.
        logits: (clips, classes).
        targets: as `classify_clips` gives them.
        rejection: 0: nothing is rejected.
    """
    if config.tags:
        scores = logits.double().sigmoid().numpy()
        return best_thresholds(targets.numpy() > 0, scores, USUAL_OF_TAGS)
    return (rejection_threshold(logits, targets, rejection),) * len(config.labels)


def rejection_threshold(logits: Tensor, targets: Tensor, rejection: float) -> float:
    """The probability that all but a share of the clips that are classified right reach."""
    highest, predicted = logits.float().softmax(1).max(1)
    right = highest[predicted == targets].sort().values
    if not rejection or not len(right):
        return 0.0
    below = math.floor(rejection * len(right))
    # A little less than that clip's own: its probability comes out otherwise in another batch.
    return float(right[min(below, len(right) - 1)] * (1 - 1e-4))


@dataclass(frozen=True)
class Rejection:
    """What a model calls unknown of clips of its own classes.

    `threshold` is the least probability that is accepted, `accepted` the share of clips that
    reach theirs, `accuracy` and its 95 % `interval` are of these.
    """

    threshold: float
    accepted: float
    accuracy: float
    interval: tuple[float, float]

    def summary(self) -> str:
        """In a line."""
        return (
            f"of probability {self.threshold:.1%} or more, else unknown: {self.accepted:.1%} of "
            f"the clips, accuracy {self.accuracy:.2%} (95 %: {as_text(self.interval)})"
        )


def rejection(config: WaveNetConfig, logits: Tensor, targets: Tensor) -> Rejection:
    """Of a model of classes, on labelled clips; logits and targets as `chosen_thresholds`."""
    highest, predicted = config.rule.probabilities(logits).max(1)
    accepted = highest >= torch.tensor(config.rule.least)[predicted]
    count, right = int(accepted.sum()), int((predicted == targets)[accepted].sum())
    interval = wilson_interval(right, count) if count else (0.0, 1.0)
    share = count / len(logits)
    return Rejection(min(config.rule.least), share, right / max(count, 1), interval)
