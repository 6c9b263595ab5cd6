"""Labels merged, renamed or dropped by a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from wavenet.classifier.data.clips import Clip, normal_label
from wavenet.classifier.data.events import with_events
from wavenet.errors import DataError

REST = "*"


def read_label_map(path: Path) -> dict[str, str]:
    """A CSV with the header `label,to`: what each label becomes.

    An empty `to` leaves out the clips of that label (of several labels, the label); the row `*` is
    about all labels that have none; without it they stay as they are.

    Raises:
        DataError: the file can't be read, is no such table, or names a label twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: can't be read as a table of labels: {error}") from None
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if header != ["label", "to"]:
        raise DataError(f"{path}: its columns are {header}; accepted are label,to")
    becomes: dict[str, str] = {}
    for row in rows[1:]:
        label = normal_label(row[0])
        if len(row) > 2 or label in becomes:
            wrong = "has more than two fields" if len(row) > 2 else "is there twice"
            raise DataError(f"{path}: the row of the label {label!r} {wrong}")
        becomes[label] = normal_label(row[1]) if len(row) > 1 else ""
    return becomes


def merge_labels(clips: Iterable[Clip], becomes: Mapping[str, str], separator: str) -> list[Clip]:
    """The clips with the labels that theirs become, without those whose label is left out."""

    def new(label: str) -> str:
        return becomes.get(label, becomes.get(REST, label))

    merged = []
    for clip in clips:
        if clip.events is not None:
            named = (event._replace(label=new(event.label)) for event in clip.events)
            merged.append(with_events(clip, (event for event in named if event.label)))
        elif clip.tags is not None:
            tags = tuple(dict.fromkeys(filter(None, map(new, clip.tags))))
            merged.append(replace(clip, label=separator.join(tags), tags=tags))
        elif label := new(clip.label):
            merged.append(replace(clip, label=label))
    return merged
