"""Strong labels: what is heard in a recording from when to when."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from wavenet.classifier.data.clips import Clip, Event, normal_label
from wavenet.classifier.data.find import audio_files
from wavenet.classifier.data.layouts import manifests_of
from wavenet.classifier.data.manifest import read_manifest
from wavenet.errors import DataError

TRACK = ".txt"


def find_events(source: Path, *, columns: Mapping[str, str] | None = None) -> list[Clip]:
    """The recordings of a data set with their events.

    Args:
        source: a manifest with a row for each event (`path`, `label`, and in seconds `onset` and
            `offset`), a row with an empty label being a recording in which there is none; a folder
            that holds one; or a folder of recordings, each with a label track of Audacity's beside
            it, `x.txt` of `x.wav`. Recordings without a track are passed over.
        columns: of a manifest, as `read_manifest` takes them.

    Raises:
        DataError: no such data, an event that ends before it begins, or rows of one recording that
            differ in split, fold or group.
    """
    if not source.exists():
        raise DataError(f"{source}: no such file or folder; a data set is a folder or a manifest")
    tables = manifests_of(source) if source.is_dir() else [(source, None)]
    if not tables:
        clips = _beside_tracks(source)
    else:
        rows = (
            row
            for manifest, split in tables
            for row in read_manifest(manifest, columns=columns, split=split, events=True)
        )
        clips = _grouped(rows)
    if not any(clip.events for clip in clips):
        raise DataError(f"{source}: none of its {len(clips)} recordings has an event")
    return clips


def with_events(clip: Clip, events: Iterable[Event]) -> Clip:
    """The clip with these events, whose labels are its tags."""
    events = tuple(sorted(events))
    tags = tuple(sorted({event.label for event in events}))
    return replace(clip, label=", ".join(tags), tags=tags, events=events)


def frame_targets(
    events: Sequence[Event], labels: Sequence[str], first: float, frames: int, seconds: float
) -> Tensor:
    """(frames, classes): 1 where the middle of a frame lies in an event, float32.

    Args:
        events: seconds of the recording.
        labels: class names.
        first: when the first frame begins, in seconds of the recording.
        frames: how many there are.
        seconds: length of one.
    """
    targets = torch.zeros(frames, len(labels))
    middles = first + (torch.arange(frames, dtype=torch.float64) + 0.5) * seconds
    index_of = {label: index for index, label in enumerate(labels)}
    for onset, offset, label in events:
        targets[(middles >= onset) & (middles < offset), index_of[label]] = 1
    return targets


def read_label_track(path: Path) -> list[Event]:
    """Audacity's, of a file; see `parse_label_track`.

    Raises:
        DataError: it can't be read, or is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as a label track: {error}") from None
    return parse_label_track(text, str(path))


def parse_label_track(text: str, what: str) -> list[Event]:
    r"""Audacity's: a line for each label, start, end (seconds) and label between tabs.

    Lines that begin with a backslash are frequencies, and are passed over.

    Raises:
        DataError: a line of `what` is none of these.
    """
    events = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        onset, offset, label = (*line.split("\t", 2), "", "")[:3]
        try:
            event = Event(
                float(onset.replace(",", ".")), float(offset.replace(",", ".")), normal_label(label)
            )
        except ValueError:
            event = Event(0.0, 0.0, "")
        if not (0 <= event.onset < event.offset < math.inf and event.label):
            raise DataError(
                f"{what}, line {number}: is {line!r}; accepted are start, end and label between "
                "tabs"
            )
        events.append(event)
    return events


def _beside_tracks(folder: Path) -> list[Clip]:
    clips, without = [], 0
    for path in audio_files(folder):
        track = path.with_suffix(TRACK)
        if track.is_file():
            clips.append(with_events(Clip(path, ""), read_label_track(track)))
        else:
            without += 1
    if not clips:
        raise DataError(
            f"{folder}: found no recording with a label track beside it (x{TRACK} of x.wav), and "
            "no manifest"
        )
    if without:
        warnings.warn(
            f"{folder}: {without} recordings without a label track are passed over", stacklevel=2
        )
    return clips


def _grouped(rows: Iterable[Clip]) -> list[Clip]:
    """A clip for each recording, of the rows of its events."""
    first: dict[Path, Clip] = {}
    events: dict[Path, list[Event]] = {}
    for row in rows:
        known = first.setdefault(row.path, row)
        if (known.split, known.fold, known.group) != (row.split, row.fold, row.group):
            raise DataError(
                f"{row.path}: its events differ in split, fold or group; a recording has one of "
                "each"
            )
        of_this = events.setdefault(row.path, [])
        if row.label:
            if row.end is None:
                raise DataError(f"{row.path}: the event {row.label!r} has no end (offset)")
            of_this.append(Event(row.start, row.end, row.label))
    return [
        with_events(replace(clip, start=0.0, end=None), events[path])
        for path, clip in first.items()
    ]
