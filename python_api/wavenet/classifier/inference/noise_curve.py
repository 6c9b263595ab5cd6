"""Accuracy against noise: the same clips, again and again, with more and more white noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wavenet.classifier.data import AudioCache, Clip
from wavenet.classifier.data.augment import MOST_DB
from wavenet.classifier.inference.evaluate import evaluate
from wavenet.classifier.inference.metrics import Metrics
from wavenet.classifier.inference.tag_metrics import TagMetrics
from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import DataError
from wavenet.pictures import new_figure, png_of


@dataclass(frozen=True)
class NoiseCurve:
    """Metrics without noise, and at each signal-to-noise ratio, in decibels, highest first."""

    clean: Metrics | TagMetrics
    noisy: dict[float, Metrics | TagMetrics]

    def as_dict(self) -> dict[str, Any]:
        """For noise_curve.json."""
        return {
            "noise": "white, relative to each clip's mean power",
            "clips": self.clean.clips,
            "clean": self.clean.figures,
            "points": [{"snr_db": snr, **m.figures} for snr, m in self.noisy.items()],
        }

    @staticmethod
    def headline(metrics: Metrics | TagMetrics) -> tuple[str, float]:
        """The figure that is drawn."""
        if isinstance(metrics, TagMetrics):
            return "mAP", metrics.figures["map"]
        return "accuracy", metrics.accuracy

    def picture(self) -> bytes:
        """Accuracy (of tags mAP) over the signal-to-noise ratio, as PNG."""
        figure = new_figure(5.5, 3.5)
        axis = figure.subplots()
        name, clean = self.headline(self.clean)
        values = [100 * self.headline(metrics)[1] for metrics in self.noisy.values()]
        axis.plot(list(self.noisy), values, "o-")
        axis.axhline(100 * clean, color="grey", linestyle="--")
        text = f"without noise {clean:.1%}"
        axis.text(max(self.noisy), 100 * clean, text, ha="left", va="bottom")
        axis.set(xlabel="signal-to-noise ratio, dB", ylabel=f"{name}, %", ylim=(0, 107))
        axis.set_xticks(list(self.noisy))
        axis.invert_xaxis()
        axis.grid(alpha=0.3)
        return png_of(figure)


def measure_noise_curve(
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    cache: AudioCache,
    snrs_db: Sequence[float],
    *,
    clean: Metrics | TagMetrics | None = None,
    max_samples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NoiseCurve:
    """Evaluate without noise and at every ratio; the noise of a clip is the same but for its gain.

    Args:
        model, clips, cache, max_samples: as of `evaluate`.
        snrs_db: signal-to-noise ratios in decibels, at least one.
        clean: what `evaluate` gives without noise, if it is known.
        progress: called with (clips done, clips in all), over all evaluations.

    Raises:
        DataError: no ratio, or one that is out of range.
    """
    if not snrs_db or not _accepted(snrs_db):
        raise DataError(
            f"snrs_db is {list(snrs_db)}; accepted are numbers from -{MOST_DB} to {MOST_DB}, at "
            "least one"
        )
    snrs = sorted(set(snrs_db), reverse=True)
    levels: list[float | None] = [None, *snrs] if clean is None else [*snrs]
    results = [] if clean is None else [clean]
    for position, level in enumerate(levels):

        def report(done: int, total: int, position: int = position) -> None:
            if progress is not None:
                progress(position * total + done, len(levels) * total)

        results.append(
            evaluate(model, clips, cache, max_samples=max_samples, snr_db=level, progress=report)
        )
    clean, *noisy = results
    return NoiseCurve(clean, dict(zip(snrs, noisy, strict=True)))


def parse_snrs(text: str) -> list[float]:
    """The numbers of a text like "20,10,5,0".

    Raises:
        DataError: something between the commas is no number, or out of range.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
        if not _accepted(numbers):
            raise ValueError
    except ValueError:
        raise DataError(
            f"--snr is {text!r}; accepted are numbers in dB between commas, as in 20,10,5,0, from "
            f"-{MOST_DB} to {MOST_DB}"
        ) from None
    return numbers


def _accepted(snrs_db: Sequence[float]) -> bool:
    return all(abs(snr) <= MOST_DB for snr in snrs_db)  # NaN is not
