"""What is heard from when to when: frames' probabilities, and the events they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wavenet.classifier.data import AudioCache, Clip
from wavenet.classifier.data.events import frame_targets
from wavenet.classifier.inference.event_metrics import EventMetrics, events_of
from wavenet.classifier.inference.streaming import ChunkedNetwork
from wavenet.classifier.inference.tag_metrics import best_thresholds
from wavenet.classifier.inference.timeline import Segment
from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.classifier.rule import USUAL_OF_TAGS

# What is heard at a time: a model that normalises clips does so over this.
WINDOW_SECONDS = 10.0


@torch.inference_mode()
def frame_logits(model: WaveNetClassifier, blocks: Iterable[Tensor]) -> Tensor:
    """(frames, classes) of a recording of any length, float32 on the CPU.

    Memory grows by the logits alone. They are those of the whole recording at once, but of a model
    that normalises clips (`clip_norm`): that hears stretches of 10 s as clips of their own.

    Args:
        model: of events, in eval mode.
        blocks: the recording's samples (n,), as `audio_blocks` gives them.
    """
    device = model.classifier.weight.device
    found: list[Tensor] = []
    if model.config.clip_norm:
        frame = model.config.frame_samples
        size = max(1, round(WINDOW_SECONDS * model.config.sample_rate / frame)) * frame
        for stretch in _stretches(blocks, size):
            found.append(model.forward_frames(stretch.unsqueeze(0).to(device))[0][0])
    else:
        network = ChunkedNetwork(model, int8=False)
        network.reset()
        for block in blocks:
            found.append(model.classifier(network.push(block).transpose(1, 2))[0])
        found.append(model.classifier(network.finish().transpose(1, 2))[0])
    return torch.cat(found).float().cpu()


def _stretches(blocks: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    heard = torch.zeros(0)
    for block in blocks:
        heard = torch.cat([heard, block])
        while len(heard) >= size:
            yield heard[:size]
            heard = heard[size:]
    if len(heard):
        yield heard


def events_in(
    model: WaveNetClassifier, blocks: Iterable[Tensor], min_probability: float | None = None
) -> tuple[list[Segment], float]:
    """The events of a recording with their mean probabilities, and its length in seconds.

    Args:
        model, blocks: as of `frame_logits`.
        min_probability: in place of the model's thresholds.
    """
    rule, seconds = model.config.rule, model.config.frame_seconds
    probabilities = rule.probabilities(frame_logits(model, blocks)).numpy().astype(np.float64)
    least = rule.least if min_probability is None else (min_probability,) * len(rule.labels)
    segments = []
    for onset, offset, label in events_of(probabilities, rule.labels, least, seconds):
        frames = slice(round(onset / seconds), round(offset / seconds))
        mean = float(probabilities[frames, rule.labels.index(label)].mean())
        segments.append(Segment(onset, offset, label, mean))
    return segments, len(probabilities) * seconds


@dataclass(frozen=True)
class HeardRecording:
    """What a model makes of a recording whose events are known.

    `logits` and `targets` are (frames, classes), float32.
    """

    clip: Clip
    logits: Tensor
    targets: Tensor


def hear(
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    cache: AudioCache,
    progress: Callable[[int, int], None] | None = None,
) -> list[HeardRecording]:
    """Whole recordings one after another; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    block = round(WINDOW_SECONDS * model.config.sample_rate)
    heard = []
    try:
        for clip in clips:
            samples = torch.from_numpy(np.array(cache.open_clip(clip)))
            logits = frame_logits(model, samples.split(block))
            heard.append(HeardRecording(clip, logits, _targets(model.config, clip, len(logits))))
            if progress is not None:
                progress(len(heard), len(clips))
    finally:
        model.train(was_training)
    return heard


def _targets(config: WaveNetConfig, clip: Clip, frames: int) -> Tensor:
    return frame_targets(clip.events or (), config.labels, clip.start, frames, config.frame_seconds)


def frame_thresholds(heard: Sequence[HeardRecording]) -> tuple[float, ...]:
    """Of each class where the F1 of its frames is highest."""
    truth = torch.cat([one.targets for one in heard]).numpy() > 0
    scores = torch.cat([one.logits for one in heard]).double().sigmoid().numpy()
    return best_thresholds(truth, scores, USUAL_OF_TAGS)


def measure_events(config: WaveNetConfig, heard: Sequence[HeardRecording]) -> EventMetrics:
    """What frames' logits say of recordings whose events are known."""
    seconds, least = config.frame_seconds, config.rule.least
    scores: list[NDArray[np.float64]] = [one.logits.double().sigmoid().numpy() for one in heard]
    loss = torch.cat(
        [
            F.binary_cross_entropy_with_logits(
                one.logits.double(), one.targets.double(), reduction="none"
            ).mean(1)
            for one in heard
        ]
    ).mean()
    return EventMetrics.of(
        config.labels,
        [one.clip.events or () for one in heard],
        [events_of(one, config.labels, least, seconds) for one in scores],
        [len(one) * seconds for one in scores],
        float(loss),
    )
