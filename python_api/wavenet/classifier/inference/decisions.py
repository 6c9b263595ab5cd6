"""A classifier's decision about a stretch of a recording."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from torch import Tensor

from wavenet.classifier.rule import SILENCE, Rule


@dataclass(frozen=True, eq=False)
class Decision:
    """What the classifier makes of the time from `start` to `end`, in seconds of the recording.

    `logits` is float32 (classes,) on the CPU; logit i belongs to labels[i]. `rule` says which of
    the labels are meant; without one the likeliest is. `silent`: there is no sound in that time.
    """

    start: float
    end: float
    logits: Tensor
    labels: tuple[str, ...]
    rule: Rule | None = None
    silent: bool = False

    @functools.cached_property
    def probabilities(self) -> Tensor:
        """Of each label, (classes,)."""
        return self.deciding.probabilities(self.logits)

    @property
    def label(self) -> str:
        """The likeliest label that is meant; "unknown" where none is, "silence" without sound."""
        return SILENCE if self.silent else self.deciding.label(self.probabilities)

    @property
    def meant(self) -> list[tuple[str, float]]:
        """The labels that are meant with their probabilities, likeliest first; there may be none.

        Of classes it is one at most.
        """
        return [] if self.silent else self.deciding.meant(self.probabilities)

    @property
    def probability(self) -> float:
        """Of the likeliest label, meant or not."""
        return float(self.probabilities.max())

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` likeliest labels with their probabilities, best first."""
        return self.deciding.top(self.probabilities, count)

    @property
    def deciding(self) -> Rule:
        """The rule, or the usual one."""
        return self.rule or Rule(self.labels)
