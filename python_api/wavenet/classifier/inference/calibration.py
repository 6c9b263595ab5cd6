"""Whether a classifier's probabilities can be believed: reliability diagram and ECE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wavenet.pictures import new_figure, png_of


@dataclass(frozen=True)
class Calibration:
    """Clips by the probability of their likeliest class, in bins of equal width from 0 to 1.

    Of tags it is pairs of a clip and a tag by the tag's probability, and a tag is right if it is
    there.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 2.

    Attributes:
        counts: clips of each bin.
        confidence: mean probability of the likeliest class in each bin; 0 in an empty one.
        accuracy: the share of each bin's clips whose likeliest class is the true one.
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap of confidence and accuracy over clips."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((self.counts * gaps).sum() / self.counts.sum())

    def picture(self) -> bytes:
        """The reliability diagram, with the number of clips below it, as PNG."""
        figure = new_figure(5.5, 4.5)
        upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
        bins = len(self.counts)
        centres = (np.arange(bins) + 0.5) / bins
        upper.bar(centres, self.accuracy, 1 / bins, edgecolor="white", label="accuracy")
        full = self.counts > 0
        sizes = 4 + 60 * self.counts[full] / self.counts.max()  # the area is the number of clips
        at = self.confidence[full], self.accuracy[full]
        upper.scatter(*at, sizes, color="black", zorder=3, clip_on=False, label="mean probability")
        upper.plot([0, 1], [0, 1], color="grey", linestyle="--", label="calibrated")
        upper.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        upper.set_title(f"expected calibration error {self.ece:.3f}")
        upper.legend(loc="upper left", fontsize=8)
        lower.bar(centres, self.counts, 1 / bins, edgecolor="white", color="grey")
        lower.set(xlabel="probability", ylabel="count")
        return png_of(figure)


def measure_calibration(logits: Tensor, targets: Tensor, bins: int = 15) -> Calibration:
    """Sort clips into bins; logits (clips, classes), targets as `classify_clips` gives them."""
    if targets.dim() == 2:
        confidence = logits.double().sigmoid().flatten().numpy()
        right = targets.flatten().numpy() > 0
    else:
        confidence, predicted = (t.numpy() for t in logits.double().softmax(1).max(1))
        right = predicted == targets.numpy()
    # A probability on the edge of two bins is in the lower one, as in the source.
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    divisor = np.maximum(counts, 1)
    return Calibration(
        counts.astype(np.int64),
        np.bincount(bin_of, weights=confidence, minlength=bins) / divisor,
        np.bincount(bin_of, weights=right, minlength=bins) / divisor,
    )
