"""Which class is heard when in a long recording: sliding windows, and segments of one label."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from wavenet.audio.reading import SILENCE
from wavenet.classifier.inference.decisions import Decision
from wavenet.classifier.inference.streaming import StreamingClassifier
from wavenet.classifier.inference.threads import paying_threads
from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import DataError, require_seconds

WINDOWS_AT_A_TIME = 16


@dataclass(frozen=True)
class Segment:
    """From `start` to `end` (seconds) `label` is heard; its mean probability."""

    start: float
    end: float
    label: str
    probability: float


def classify_windows(
    model: WaveNetClassifier,
    blocks: Iterable[Tensor],
    *,
    window_seconds: float = 1.0,
    hop_seconds: float = 0.5,
) -> Iterator[Decision]:
    """Classify overlapping windows of a recording, each as if it were a clip of its own.

    Args:
        model: in eval mode.
        blocks: the recording's samples (n,), as `audio_blocks` gives them.
        window_seconds: length of a window. A shorter recording is one window.
        hop_seconds: from one window's start to the next one's, at most `window_seconds`. The last
            window ends where the recording ends, however near the one before it is.

    Raises:
        DataError: a time that is out of range.
    """
    require_seconds(window_seconds=window_seconds)
    if not 0 < hop_seconds <= window_seconds:
        raise DataError(
            f"hop_seconds is {hop_seconds}; accepted is more than 0, up to window_seconds = "
            f"{window_seconds}"
        )
    rate = model.config.sample_rate
    window, hop = (max(1, round(seconds * rate)) for seconds in (window_seconds, hop_seconds))
    waiting: list[tuple[int, Tensor]] = []
    for item in _windows(blocks, window, hop):
        waiting.append(item)
        if len(waiting) == WINDOWS_AT_A_TIME:
            yield from _classified(model, waiting)
            waiting = []
    yield from _classified(model, waiting)


def classify_stream(
    model: WaveNetClassifier,
    blocks: Iterable[Tensor],
    *,
    window_seconds: float = 1.0,
    hop_seconds: float = 0.5,
) -> Iterator[Decision]:
    """The decisions of a `StreamingClassifier` over a whole recording, `finish` included.

    It computes with one thread where more don't make it faster.
    """
    listener = StreamingClassifier(model, window_seconds=window_seconds, hop_seconds=hop_seconds)
    with paying_threads(next(model.parameters()).device) as threads:
        for block in blocks:
            yield from threads.compute(functools.partial(listener.push, block), len(block))
        yield from listener.finish()


def merge_decisions(
    decisions: Sequence[Decision], min_probability: float | None = None
) -> list[Segment]:
    """Stretches of one label, in order; those of one label don't overlap, of classes none do.

    At each time the probabilities of all decisions about it are averaged. Neighbouring times at
    which a label is meant are one segment. Where none is there is none, nor where only background
    or silence is heard.

    Args:
        decisions: of one model.
        min_probability: from which on a label is meant; None: the model's own thresholds.
    """
    changes = sorted({time for d in decisions for time in (d.start, d.end)})
    by_start = sorted(decisions, key=lambda decision: decision.start)
    segments: list[Segment] = []
    open_: dict[str, int] = {}  # each label's segment that ends where the time begins
    current: list[Decision] = []  # what covers the time
    upcoming = 0
    for start, end in zip(changes, changes[1:], strict=False):
        while upcoming < len(by_start) and by_start[upcoming].start <= start:
            current.append(by_start[upcoming])
            upcoming += 1
        current = [decision for decision in current if decision.end > start]
        meant = _meant(current, min_probability)
        open_ = {label: index for label, index in open_.items() if label in meant}
        for label, probability in meant.items():
            if label in open_:
                last = segments[open_[label]]
                before, now = last.end - last.start, end - start
                mean = (last.probability * before + probability * now) / (before + now)
                segments[open_[label]] = Segment(last.start, end, label, mean)
            else:
                open_[label] = len(segments)
                segments.append(Segment(start, end, label, probability))
    return segments


def _meant(decisions: Sequence[Decision], min_probability: float | None) -> dict[str, float]:
    """What is heard at a time by all decisions about it, with the mean probability."""
    if not decisions or all(decision.silent for decision in decisions):
        return {}
    rule = decisions[0].deciding
    mean = torch.stack([decision.probabilities for decision in decisions]).mean(0)
    meant = rule.meant(mean, min_probability)
    return {label: probability for label, probability in meant if label != rule.background}


def as_json(
    recording: str,
    segments: Sequence[Segment],
    decisions: Sequence[Decision],
    labels: Sequence[str],
    seconds: float,
) -> str:
    """Segments, and the decisions they were made of with the probabilities of all classes."""
    content = {
        "path": recording,
        "seconds": seconds,
        "labels": list(labels),
        "segments": [asdict(segment) for segment in segments],
        "decisions": [
            {
                "start": decision.start,
                "end": decision.end,
                "probabilities": decision.probabilities.tolist(),
                "silent": decision.silent,
            }
            for decision in decisions
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def as_csv(segments: Sequence[Segment]) -> str:
    """A line for each segment: start, end (seconds), label, probability."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("start", "end", "label", "probability"))
    table.writerows(
        (f"{s.start:.3f}", f"{s.end:.3f}", s.label, f"{s.probability:.4f}") for s in segments
    )
    return text.getvalue()


def as_label_track(segments: Sequence[Segment]) -> str:
    """Audacity's label track: start, end, label between tabs (File, Import, Labels)."""
    return "".join(f"{s.start:.6f}\t{s.end:.6f}\t{' '.join(s.label.split())}\n" for s in segments)


def _windows(blocks: Iterable[Tensor], window: int, hop: int) -> Iterator[tuple[int, Tensor]]:
    """(first sample, samples (window,)); of a shorter recording, all its samples."""
    start, heard = 0, torch.zeros(0)
    for block in blocks:
        heard = torch.cat([heard, block])
        # The newest whole window is kept: it may turn out to be the last.
        while len(heard) >= window + hop:
            yield start, heard[:window]
            start, heard = start + hop, heard[hop:]
    if len(heard) >= window:
        yield start, heard[:window]
        if len(heard) > window:
            yield start + len(heard) - window, heard[-window:]
    elif len(heard):
        yield start, heard


@torch.inference_mode()
def _classified(model: WaveNetClassifier, items: list[tuple[int, Tensor]]) -> Iterator[Decision]:
    if not items:
        return
    rate, device = model.config.sample_rate, next(model.parameters()).device
    rule = model.config.rule
    # All windows are of one length: only a recording of a single window has a shorter one.
    logits = model(torch.stack([samples for _, samples in items]).to(device)).float().cpu()
    for (start, samples), row in zip(items, logits, strict=True):
        silent = float(samples.max() - samples.min()) < 2 * SILENCE
        yield Decision(start / rate, (start + len(samples)) / rate, row, rule.labels, rule, silent)
