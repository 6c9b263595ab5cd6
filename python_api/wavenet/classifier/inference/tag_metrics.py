"""Metrics of clips that may have several labels each, or none."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavenet.classifier.inference.intervals import as_text, wilson_interval
from wavenet.pictures import new_figure, png_of

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]
# More curves than this can't be told apart.
DRAWN = 12


@dataclass(frozen=True)
class TagMetrics:
    """What the probabilities of tags say about clips whose tags are known.

    Macro figures are means over the classes that have clips both with and without them; micro ones
    are of all pairs of a clip and a class at once.

    Attributes:
        labels: class names.
        truth: (clips, classes), which tags each clip has.
        scores: (clips, classes), probabilities.
        thresholds: (classes,), from which on a tag is said.
        loss: mean binary cross-entropy of a clip and a class, in nats.
    """

    labels: tuple[str, ...]
    truth: Truth
    scores: Scores
    thresholds: Scores
    loss: float

    @property
    def clips(self) -> int:
        return len(self.truth)

    @property
    def said(self) -> Truth:
        """(clips, classes): which tags reach their thresholds."""
        return self.scores >= self.thresholds

    @property
    def exact(self) -> float:
        """The share of clips whose tags are said, all of them and no other."""
        return float((self.said == self.truth).all(1).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of `exact`."""
        return wilson_interval(self.exact * self.clips, self.clips)

    @functools.cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """For each class: average precision and AUC (NaN where undefined), and of what is said
        precision, recall, F1 (0 where undefined); threshold and support.
        """
        hits = (self.said & self.truth).sum(0)
        said, support = self.said.sum(0), self.truth.sum(0)
        return [
            {
                "label": label,
                "average_precision": average_precision(self.truth[:, i], self.scores[:, i]),
                "auc": area_under_curve(self.truth[:, i], self.scores[:, i]),
                "precision": float(hits[i] / max(said[i], 1)),
                "recall": float(hits[i] / max(support[i], 1)),
                "f1": float(2 * hits[i] / max(said[i] + support[i], 1)),
                "threshold": float(self.thresholds[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(self.labels)
        ]

    @functools.cached_property
    def figures(self) -> dict[str, float]:
        """All that is one number, by name."""
        hits = int((self.said & self.truth).sum())
        return {
            "map": self._mean("average_precision"),
            "micro_map": average_precision(self.truth.ravel(), self.scores.ravel()),
            "auc": self._mean("auc"),
            "micro_auc": area_under_curve(self.truth.ravel(), self.scores.ravel()),
            "macro_f1": self._mean("f1"),
            "micro_f1": 2 * hits / max(1, int(self.said.sum() + self.truth.sum())),
            "exact": self.exact,
            "loss": self.loss,
        }

    def _mean(self, name: str) -> float:
        """Over the classes that have clips with and without them; 0 if there is none."""
        values = [row[name] for row in self.per_class if 0 < row["support"] < self.clips]
        return float(np.mean(values)) if values else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json; what is undefined is null."""
        return {
            "clips": self.clips,
            **{name: _defined(value) for name, value in self.figures.items()},
            "exact_interval": list(self.interval),
            "per_class": [
                {key: _defined(value) for key, value in row.items()} for row in self.per_class
            ],
            "labels": list(self.labels),
        }

    def summary(self) -> str:
        """The figures in a line."""
        f = self.figures
        return (
            f"mAP {f['map']:.4f} (micro {f['micro_map']:.4f}), AUC {f['auc']:.4f}, "
            f"F1 {f['macro_f1']:.4f} (micro {f['micro_f1']:.4f}), all tags right "
            f"{self.exact:.2%} (95 %: {as_text(self.interval)}), loss {self.loss:.4f}"
        )

    def picture(self) -> bytes:
        """Precision over recall of the classes with most clips, as PNG."""
        figure = new_figure(6, 4.5)
        axis = figure.subplots()
        ranked = sorted(range(len(self.labels)), key=lambda i: -self.per_class[i]["support"])
        for i in ranked[:DRAWN]:
            if self.per_class[i]["support"]:
                precision, recall = precision_recall(self.truth[:, i], self.scores[:, i])
                axis.step(recall, precision, where="pre", label=self.labels[i])
        axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axis.set_title(f"mAP {self.figures['map']:.3f} on {self.clips} clips")
        axis.grid(alpha=0.3)
        if axis.lines:
            for text in axis.legend(fontsize=8).get_texts():
                text.set_parse_math(False)
        return png_of(figure)


def precision_recall(truth: Truth, scores: Scores) -> tuple[Scores, Scores]:
    """At each distinct score, highest first: of those that reach it, how many are true, and how
    many of the true ones they are; truth and scores (N,), one of them true at least.
    """
    hits, reached = _counts(truth, scores)
    return hits / reached, hits / hits[-1]


def average_precision(truth: Truth, scores: Scores) -> float:
    """The mean precision over recall, without interpolation; NaN where nothing is true."""
    if not truth.any():
        return float("nan")
    precision, recall = precision_recall(truth, scores)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def area_under_curve(truth: Truth, scores: Scores) -> float:
    """The probability that a true one scores higher than a false one; NaN without both."""
    hits, reached = _counts(truth, scores)
    if hits[-1] in (0, len(truth)):
        return float("nan")
    false = np.concatenate(([0], reached - hits))
    true = np.concatenate(([0], hits))
    area = (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    return float(area / (true[-1] * false[-1]))


def best_threshold(truth: Truth, scores: Scores, usual: float) -> float:
    """Where F1 is highest, halfway to the next score below; `usual` where nothing is true."""
    if not truth.any():
        return usual
    hits, reached = _counts(truth, scores)
    best = int((2 * hits / (reached + hits[-1])).argmax())
    distinct = np.unique(scores)[::-1]
    below = distinct[best + 1] if best + 1 < len(distinct) else 0.0
    return float((distinct[best] + below) / 2)


def _counts(truth: Truth, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At each distinct score, highest first: how many that reach it are true, and how many do."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return np.cumsum(truth[order], dtype=np.int64)[last], last + 1


def best_thresholds(truth: Truth, scores: Scores, usual: float) -> tuple[float, ...]:
    """`best_threshold` of each class; truth and scores (clips, classes)."""
    return tuple(best_threshold(t, s, usual) for t, s in zip(truth.T, scores.T, strict=True))


def _defined(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
