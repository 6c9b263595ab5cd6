"""Events from frames, and how well they agree with those that are known.

Source of the metrics: Mesaros, Heittola, Virtanen, "Metrics for polyphonic sound event detection",
Applied Sciences 6 (2016); as in DCASE, events agree whose onsets are within 200 ms and whose
offsets are within 200 ms or half the event's length, and segments are of one second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavenet.classifier.data.clips import Event

COLLAR = 0.2
OF_LENGTH = 0.5
SEGMENT = 1.0
# Shorter gaps between events of one label are none.
GAP = 0.1


def events_of(
    probabilities: NDArray[np.float64],
    labels: Sequence[str],
    least: Sequence[float],
    frame_seconds: float,
) -> list[Event]:
    """Stretches of frames that reach their thresholds; probabilities (frames, classes)."""
    events = []
    for index, label in enumerate(labels):
        active = probabilities[:, index] >= least[index]
        edges = np.flatnonzero(np.diff(np.concatenate(([0], active.astype(np.int8), [0]))))
        runs: list[list[float]] = []
        for first, last in (edges.reshape(-1, 2) * frame_seconds).tolist():
            if runs and first - runs[-1][1] < GAP:
                runs[-1][1] = last
            else:
                runs.append([first, last])
        events += [Event(first, last, label) for first, last in runs]
    return sorted(events)


@dataclass(frozen=True)
class Counts:
    """How many of what is known were found, and how many of what was found are right."""

    known: int
    found: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.found)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.known)

    @property
    def f1(self) -> float:
        """0 where there is nothing."""
        return 2 * self.right / max(1, self.known + self.found)


@dataclass(frozen=True)
class EventMetrics:
    """Event-based and segment-based counts of each class over recordings.

    Attributes:
        labels: class names.
        events, segments: for each class.
        recordings: how many.
        seconds: of all of them.
        loss: mean binary cross-entropy of a frame and a class, in nats.
    """

    labels: tuple[str, ...]
    events: tuple[Counts, ...]
    segments: tuple[Counts, ...]
    recordings: int
    seconds: float
    loss: float

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        known: Sequence[Sequence[Event]],
        found: Sequence[Sequence[Event]],
        seconds: Sequence[float],
        loss: float,
    ) -> EventMetrics:
        """Of each recording's events that are known, those that were found, and its length."""
        events, segments = [], []
        for label in labels:
            pairs = [
                ([e for e in truth if e.label == label], [e for e in said if e.label == label])
                for truth, said in zip(known, found, strict=True)
            ]
            events.append(
                Counts(
                    sum(len(truth) for truth, _ in pairs),
                    sum(len(said) for _, said in pairs),
                    sum(matches(truth, said) for truth, said in pairs),
                )
            )
            active = [
                (_segments(truth, length), _segments(said, length))
                for (truth, said), length in zip(pairs, seconds, strict=True)
            ]
            segments.append(
                Counts(
                    int(sum(truth.sum() for truth, _ in active)),
                    int(sum(said.sum() for _, said in active)),
                    int(sum((truth & said).sum() for truth, said in active)),
                )
            )
        return cls(tuple(labels), tuple(events), tuple(segments), len(known), sum(seconds), loss)

    @property
    def figures(self) -> dict[str, float]:
        """All that is one number, by name: F1 over all events, and the mean over classes."""
        return {
            "event_f1": _sum(self.events).f1,
            "event_macro_f1": _macro(self.events),
            "segment_f1": _sum(self.segments).f1,
            "segment_macro_f1": _macro(self.segments),
            "loss": self.loss,
        }

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """For each class: F1 of events and of segments, and how many events are known and found."""
        return [
            {
                "label": label,
                "event_f1": event.f1,
                "event_precision": event.precision,
                "event_recall": event.recall,
                "segment_f1": segment.f1,
                "known": event.known,
                "found": event.found,
            }
            for label, event, segment in zip(self.labels, self.events, self.segments, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "recordings": self.recordings,
            "seconds": self.seconds,
            **self.figures,
            "per_class": self.per_class,
            "labels": list(self.labels),
        }

    def summary(self) -> str:
        """The figures in a line."""
        f = self.figures
        return (
            f"event-based F1 {f['event_f1']:.4f} (mean over classes {f['event_macro_f1']:.4f}), "
            f"segment-based F1 {f['segment_f1']:.4f} ({f['segment_macro_f1']:.4f}), loss "
            f"{self.loss:.4f} on {self.recordings} recordings, {self.seconds:.0f} s"
        )


def matches(known: Sequence[Event], found: Sequence[Event]) -> int:
    """How many events of one class agree, each with one other at most, as many as possible."""
    partners = [[i for i, event in enumerate(known) if agree(event, said)] for said in found]
    taken: dict[int, int] = {}

    def place(said: int, tried: set[int]) -> bool:
        for event in partners[said]:
            if event not in tried:
                tried.add(event)
                if event not in taken or place(taken[event], tried):
                    taken[event] = said
                    return True
        return False

    return sum(place(said, set()) for said in range(len(found)))


def agree(known: Event, found: Event) -> bool:
    """Whether the onset, and the offset, are near enough."""
    within = max(COLLAR, OF_LENGTH * (known.offset - known.onset))
    return (
        abs(known.onset - found.onset) <= COLLAR + 1e-9
        and abs(known.offset - found.offset) <= within + 1e-9
    )


def _segments(events: Sequence[Event], seconds: float) -> NDArray[np.bool_]:
    """In which segments of a recording there is an event."""
    active = np.zeros(max(1, math.ceil(seconds / SEGMENT - 1e-9)), bool)
    for event in events:
        last = max(math.ceil(event.offset / SEGMENT - 1e-9), int(event.onset / SEGMENT) + 1)
        active[int(event.onset / SEGMENT + 1e-9) : last] = True
    return active


def _sum(counts: Sequence[Counts]) -> Counts:
    return Counts(*(sum(getattr(c, name) for c in counts) for name in ("known", "found", "right")))


def _macro(counts: Sequence[Counts]) -> float:
    """The mean F1 of the classes that are known or were found."""
    values = [c.f1 for c in counts if c.known or c.found]
    return float(np.mean(values)) if values else 0.0
