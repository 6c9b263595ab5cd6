"""The mistakes that a classifier was surest of, as pictures and sounds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wavenet.audio.reading import wav_of
from wavenet.classifier.data import Clip, ClipDataset
from wavenet.pictures import new_figure, png_of

# Of a longer recording the report holds the beginning: of events recordings are heard whole.
LONGEST_SOUND_SECONDS = 30.0


@dataclass(frozen=True)
class Mistake:
    """A clip, what it is, what it was taken for and how surely; picture and sound as data URIs.

    `seconds` and the picture are of the whole clip; the sound may be its beginning.
    """

    clip: Clip
    truth: str
    taken_for: str
    probability: float
    probability_of_truth: float
    seconds: float
    picture: str
    sound: str

    @property
    def is_cut(self) -> bool:
        """Whether the sound is the beginning alone."""
        return self.seconds > LONGEST_SOUND_SECONDS


def worst_mistakes(
    dataset: ClipDataset, labels: Sequence[str], logits: Tensor, targets: Tensor, count: int
) -> list[Mistake]:
    """The mistakes with the highest probability of the wrong class, surest first.

    Of tags they are the clips of which one tag is furthest from the truth.

    `logits` (clips, classes) and `targets` are of the dataset's clips, in order, as
    `classify_clips` gives them.
    """
    rate = dataset.cache.sample_rate
    mistakes = []
    found = _of_tags if targets.dim() == 2 else _of_classes
    for index, truth, taken_for, surely, rather in found(labels, logits, targets)[:count]:
        samples = dataset[index][0].numpy()
        sound = np.clip(samples[: round(LONGEST_SOUND_SECONDS * rate)], -1, 1)
        mistakes.append(
            Mistake(
                dataset.clips[index],
                truth,
                taken_for,
                surely,
                rather,
                len(samples) / rate,
                data_uri("image/png", _waveform_picture(samples, rate)),
                data_uri("audio/wav", wav_of(sound, rate, "PCM_16")),
            )
        )
    return mistakes


# The clip, what it is, what it was taken for, and the probabilities of both the other way round.
_Found = list[tuple[int, str, str, float, float]]


def _of_classes(labels: Sequence[str], logits: Tensor, targets: Tensor) -> _Found:
    probabilities = logits.double().softmax(1)
    highest, predicted = probabilities.max(1)
    wrong = (predicted != targets).nonzero().flatten().tolist()
    wrong.sort(key=lambda index: -float(highest[index]))
    return [
        (
            index,
            labels[int(targets[index])],
            labels[int(predicted[index])],
            float(highest[index]),
            float(probabilities[index, targets[index]]),
        )
        for index in wrong
    ]


def _of_tags(labels: Sequence[str], logits: Tensor, targets: Tensor) -> _Found:
    apart, worst = (logits.double().sigmoid() - targets).abs().max(1)
    found: _Found = []
    for index in apart.argsort(descending=True).tolist():
        if apart[index] > 0.5:
            label, there = labels[int(worst[index])], bool(targets[index, worst[index]])
            tags = [x for x, has in zip(labels, targets[index].tolist(), strict=True) if has]
            surely = float(apart[index])
            taken_for = f"{'not ' if there else ''}{label}"
            found.append((index, ", ".join(tags) or "nothing", taken_for, surely, 1 - surely))
    return found


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
