"""The mistakes that a classifier was surest of, as pictures and sounds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wavenet.audio.reading import wav_of
from wavenet.classifier.data import Clip, ClipDataset
from wavenet.classifier.inference.tag_metrics import TagMetrics
from wavenet.pictures import new_figure, png_of

# Of a longer recording the report holds the beginning: of events recordings are heard whole.
LONGEST_SOUND_SECONDS = 30.0


@dataclass(frozen=True)
class Mistake:
    """A clip, what it is, what it was taken for, how surely; picture and sound as data URIs.

    `seconds` and the picture are of the whole clip; the sound may be its beginning.
    """

    clip: Clip
    truth: str
    taken_for: str
    surely: str
    seconds: float
    picture: str
    sound: str

    @property
    def is_cut(self) -> bool:
        """Whether the sound is the beginning alone."""
        return self.seconds > LONGEST_SOUND_SECONDS


class Found(NamedTuple):
    """Number of a clip in the data set, what it is, what it was taken for, how surely."""

    number: int
    truth: str
    taken_for: str
    surely: str


def worst_mistakes(dataset: ClipDataset, found: Sequence[Found]) -> list[Mistake]:
    """What `mistakes_of_classes` or `mistakes_of_tags` found among the clips, to see and hear."""
    rate = dataset.cache.sample_rate
    mistakes = []
    for number, truth, taken_for, surely in found:
        samples = dataset[number][0].numpy()
        sound = np.clip(samples[: round(LONGEST_SOUND_SECONDS * rate)], -1, 1)
        mistakes.append(
            Mistake(
                dataset.clips[number],
                truth,
                taken_for,
                surely,
                len(samples) / rate,
                data_uri("image/png", _waveform_picture(samples, rate)),
                data_uri("audio/wav", wav_of(sound, rate, "PCM_16")),
            )
        )
    return mistakes


def mistakes_of_classes(labels: Sequence[str], logits: Tensor, targets: Tensor) -> list[Found]:
    """The mistakes with the highest probability of the wrong class, surest first.

    Args:
        labels: the classes' names.
        logits, targets: (clips, classes) and (clips,), as `classify_clips` gives them.
    """
    probabilities = logits.double().softmax(1)
    highest, predicted = probabilities.max(1)
    wrong = (predicted != targets).nonzero().flatten().tolist()
    wrong.sort(key=lambda index: -float(highest[index]))
    return [
        Found(
            index,
            labels[int(targets[index])],
            labels[int(predicted[index])],
            f"{percent(highest[index])} against {percent(probabilities[index, targets[index]])}",
        )
        for index in wrong
    ]


def mistakes_of_tags(metrics: TagMetrics) -> list[Found]:
    """Clips of which not all tags are said, or others are: those with a tag furthest from true.

    What is said, and so what is mistaken, is what reaches its threshold.
    """
    wrong = metrics.said != metrics.truth
    apart = np.where(wrong, np.abs(metrics.scores - metrics.truth), 0.0)
    found = []
    for index in np.argsort(-apart.max(1), kind="stable").tolist():
        if not wrong[index].any():
            continue
        tag = int(apart[index].argmax())
        tags = [x for x, has in zip(metrics.labels, metrics.truth[index], strict=True) if has]
        taken_for = f"{'' if metrics.said[index, tag] else 'not '}{metrics.labels[tag]}"
        score, least = percent(metrics.scores[index, tag]), percent(metrics.thresholds[tag])
        surely = f"{score}, said from {least} on"
        found.append(Found(index, ", ".join(tags) or "nothing", taken_for, surely))
    return found


def percent(probability: SupportsFloat) -> str:
    """As the page writes it."""
    return f"{100 * float(probability):.1f} %"


def data_uri(kind: str, content: bytes) -> str:
    """The content as a link that needs no file and no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _waveform_picture(samples: NDArray[np.float32], rate: int) -> bytes:
    figure = new_figure(4.2, 1.2)
    axis = figure.subplots()
    # As many columns as the picture has room for, each from its lowest to its highest sample.
    edges = np.linspace(0, len(samples), min(500, len(samples)) + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
    axis.fill_between(edges / rate, low, high, step="post", linewidth=0.6, edgecolor="C0")
    peak = max(1e-3, float(np.abs(samples).max()))
    axis.set(xlim=(0, len(samples) / rate), ylim=(-1.05 * peak, 1.05 * peak))
    axis.tick_params(labelsize=7)
    axis.set_xlabel("s", fontsize=7)
    return png_of(figure)
