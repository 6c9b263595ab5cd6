"""What a data set is made of: one labelled recording."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from wavenet.errors import DataError

# How people call the three parts, and what we call them.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel"), "validation"),
    **dict.fromkeys(
        ("test", "testing", "tst", "eval", "evaluation", "heldout", "held_out"), "test"
    ),
}
SPLITS_ACCEPTED = "train, validation (or val, valid, dev) and test"


def split_of(text: str, what: str) -> str:
    """The split that people call so.

    Raises:
        DataError: `what` is none.
    """
    if text.lower() not in SPLIT_NAMES:
        raise DataError(f"{what} is {text!r}; accepted are {SPLITS_ACCEPTED}")
    return SPLIT_NAMES[text.lower()]


# A recording, and the times of a part of it.
Place: TypeAlias = tuple[Path, float, float | None]


class Prepared(NamedTuple):
    """What `wavenet prepare` found when it wrote a clip, which is then not looked at again."""

    rate: int
    samples: int


class Event(NamedTuple):
    """What is heard from `onset` to `offset`, in seconds of the recording."""

    onset: float
    offset: float
    label: str


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is known about it.

    `split` is "train", "validation" or "test". `fold` names a cross-validation fold. `group` names
    what must not be on both sides of a split: the speaker, the machine, the recording session.
    `start` and `end` are seconds where it is a part of a recording; None: to its end.
    `tags` are its labels where it may have several, or none; `label` is then their text.
    `events` are what its tags come from where times are known. `prepared` is there where it was
    examined when it was written.
    """

    path: Path
    label: str
    split: str | None = None
    fold: str | None = None
    group: str | None = None
    start: float = 0.0
    end: float | None = None
    tags: tuple[str, ...] | None = None
    prepared: Prepared | None = None
    events: tuple[Event, ...] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """All that it is labelled with: one label, or its tags."""
        return (self.label,) if self.tags is None else self.tags

    def prepared_samples(self, rate: int) -> int | None:
        """Of a clip that was examined at this rate when it was written."""
        known = self.prepared
        return known.samples if known is not None and known.rate == rate else None

    @property
    def place(self) -> Place:
        """What it is of: another clip of the same place is the same sound."""
        return self.path, self.start, self.end

    @property
    def name(self) -> str:
        """The path, with the times of a part, for people."""
        if self.end is None and not self.start:
            return str(self.path)
        end = "its end" if self.end is None else f"{self.end:g} s"
        return f"{self.path} ({self.start:g} s to {end})"


def labels_of(clips: Iterable[Clip]) -> list[str]:
    """The distinct labels, sorted (numbers by value)."""
    return sorted({label for clip in clips for label in clip.labels}, key=natural_key)


def with_tags(clips: Iterable[Clip], separator: str) -> list[Clip]:
    """The clips with their labels taken apart into tags; none of the same name twice."""
    if not separator:
        return list(clips)
    return [
        replace(clip, tags=tuple(dict.fromkeys(filter(None, map(normal_label, texts)))))
        for clip in clips
        for texts in [clip.label.split(separator)]
    ]


def rarest_labels(clips: Sequence[Clip]) -> list[str]:
    """For each clip its label, or of several the one that fewest clips have; "" of none.

    By it clips are dealt out and drawn as if each were of one class.
    """
    counts = Counter(label for clip in clips for label in clip.labels)
    return [
        min(clip.labels, key=lambda label: (counts[label], label), default="") for clip in clips
    ]


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key that takes runs of digits as numbers; distinct texts have distinct keys."""
    parts = re.split(r"([0-9]+)", text)
    key = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
    return (*key, (-1, 0, text))


def normal_label(text: str) -> str:
    """A label in composed Unicode (macOS lists folder names decomposed) without outer blanks."""
    return unicodedata.normalize("NFC", text).strip()
