"""Note tracks: which pitch sounds from when to when, as frames that a network is conditioned on.

A track is a list of events whose labels are pitches: MIDI numbers (60 is middle C, 69 is 440 Hz) or
their names (C4, F#3, Bb3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wavenet.errors import DataError, is_whole, require_field

LAST_PITCH = 127
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NAME = re.compile(r"([A-G])([#b]?)(-?\d+)")


class Note(NamedTuple):
    """A pitch, as a MIDI number, from `onset` to `offset` in seconds."""

    onset: float
    offset: float
    pitch: int


@dataclass(frozen=True)
class NoteConfig:
    """What the frames of a note track are.

    Attributes:
        hop: samples of a frame.
        lowest, highest: pitches that there are, as MIDI numbers.
    """

    hop: int = 64
    lowest: int = 21
    highest: int = 108

    def __post_init__(self) -> None:
        require_field(is_whole(self.hop, 1), self, "hop", "an int from 1")
        require_field(is_whole(self.lowest, 0), self, "lowest", "an int from 0")
        fits = is_whole(self.highest, self.lowest) and self.highest <= LAST_PITCH
        require_field(fits, self, "highest", f"an int from lowest to {LAST_PITCH}")

    @property
    def rows(self) -> int:
        """M of the frames: beginnings, and one for each pitch."""
        return 2 + self.highest - self.lowest


def note_frames(
    notes: Sequence[Note], config: NoteConfig, frames: Tensor, sample_rate: int
) -> Tensor:
    """A track's frames, float32 (rows, F).

    Row 0 is 1 in the frame in which a note begins, row 1 + pitch - lowest while that pitch sounds,
    else 0; a frame is what is true in its middle.

    Args:
        notes: any number at a time.
        config: the description.
        frames: (F,) their numbers, frame 0 beginning with the track.
        sample_rate: in Hz, of the samples of which a frame has `hop`.

    Raises:
        DataError: a pitch that is not of the description.
    """
    seconds = config.hop / sample_rate
    middle = (frames.double() + 0.5) * seconds
    made = torch.zeros(config.rows, len(frames))
    for onset, offset, pitch in notes:
        if not config.lowest <= pitch <= config.highest:
            raise DataError(
                f"notes has the pitch {pitch}; accepted are {config.lowest} to {config.highest}"
            )
        sounds = (middle >= onset) & (middle < offset)
        made[1 + pitch - config.lowest, sounds] = 1
        made[0, sounds & (middle - seconds < onset)] = 1
    return made


def notes_of(
    events: Iterable[tuple[float, float, str]], config: NoteConfig, what: str
) -> tuple[Note, ...]:
    """Events (onset, offset, label) as notes.

    Raises:
        DataError: a label that is no pitch of the description; `what` has it.
    """
    notes = []
    for onset, offset, label in events:
        pitch = _pitch_of(label)
        if pitch is None or not config.lowest <= pitch <= config.highest:
            raise DataError(
                f"{what}: has a note {label!r}; accepted are MIDI numbers from {config.lowest} to "
                f"{config.highest}, or names as C4, F#3, Bb3 for them"
            )
        notes.append(Note(onset, offset, pitch))
    return tuple(notes)


def _pitch_of(label: str) -> int | None:
    if label.isdecimal():
        return int(label)
    named = _NAME.fullmatch(label)
    if named is None:
        return None
    step, sign, octave = named.groups()
    return 12 * (int(octave) + 1) + _STEPS[step] + {"": 0, "#": 1, "b": -1}[sign]


def hz_of(pitch: float) -> float:
    """The frequency of a MIDI number, 440 Hz of 69, twelve to the octave."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))
