"""What a data set is made of: one labelled recording."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# How people call the three parts, and what we call them.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Clip:
    """One recording and what is known about it.

    `split` is "train", "validation" or "test". `fold` names a cross-validation fold. `group` names
    what must not be on both sides of a split: the speaker, the machine, the recording session.
    """

    path: Path
    label: str
    split: str | None = None
    fold: str | None = None
    group: str | None = None


def labels_of(clips: Iterable[Clip]) -> list[str]:
    """The distinct labels, sorted (numbers by value)."""
    return sorted({clip.label for clip in clips}, key=natural_key)


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key that takes runs of digits as numbers; distinct texts have distinct keys."""
    parts = re.split(r"([0-9]+)", text)
    key = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
    return (*key, (-1, 0, text))


def normal_label(text: str) -> str:
    """A label in composed Unicode (macOS lists folder names decomposed) without outer blanks."""
    return unicodedata.normalize("NFC", text).strip()
