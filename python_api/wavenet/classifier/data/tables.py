"""Data sets as Hugging Face's `datasets` keeps them on disk: Arrow and Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wavenet.audio.tables import (
    SUFFIXES,
    audio_column,
    features_of,
    rows_of,
    schema_of,
)
from wavenet.classifier.data.clips import SPLIT_NAMES, Clip, normal_label, split_of
from wavenet.classifier.data.manifest import ALIASES
from wavenet.classifier.data.walk import visible
from wavenet.errors import DataError


def tables_in(root: Path) -> list[Path]:
    """A folder's Parquet or Arrow files: in it, in `data/`, or in a folder for each split."""
    folders = [
        entry
        for entry in visible(root)
        if entry.is_dir() and (entry.name == "data" or entry.name.lower() in SPLIT_NAMES)
    ]
    found = [
        entry
        for folder in (root, *folders)
        for entry in visible(folder)
        if entry.suffix.lower() in SUFFIXES and entry.is_file()
    ]
    return [file for file in found if not file.name.startswith("cache-")]  # what `map` leaves


def find_in_tables(
    files: Sequence[Path], columns: Mapping[str, str] | None = None, separator: str = ""
) -> list[Clip]:
    """The recordings in Parquet and Arrow files, which have a column of audio and one of labels.

    Files called train-00000-of-00002.parquet, test-... or in folders called so are of that split.
    The columns `label`, `split`, `fold` and `group` may have the other names that a manifest's may
    (`ALIASES`); the label may be the only ClassLabel. Numbers of classes get their names.

    Args:
        files: what `tables_in` found.
        columns: what columns are called here: label=NAME, group=NAME.
        separator: put between the labels of a row that has a list of them.

    Raises:
        DataError: a file can't be read or lacks a column, or a row lacks a label.
    """
    clips = []
    for file in files:
        schema = schema_of(file)
        if audio_column(schema) is None:
            raise DataError(
                f"{file}: has no column of audio (a struct with bytes and path, as `datasets` "
                f"writes Audio); its columns are {schema.names}"
            )
        features = features_of(schema)
        named = _columns(file, schema.names, features, columns or {})
        classes = {name: _classes(features.get(column)) for name, column in named.items()}
        split = _split(file)
        for number, row in enumerate(rows_of(file, list(named.values()))):
            where = f"{file}: row {number}"
            known = {
                name: text
                for name, column in named.items()
                if (text := _text(row[column], classes[name], separator, f"{where}: {column}"))
            }
            if "label" not in known and not separator:
                raise DataError(f"{where} has no label")
            of_row = split_of(known["split"], f"{where}: split") if "split" in known else split
            label = normal_label(known.get("label", ""))
            fold, group = known.get("fold"), known.get("group")
            clips.append(Clip(file / str(number), label, of_row, fold, group))
    return clips


def _split(file: Path) -> str | None:
    first = file.name.lower().partition("-")[0].partition(".")[0]
    return SPLIT_NAMES.get(first) or SPLIT_NAMES.get(file.parent.name.lower())


def _columns(
    file: Path, names: Sequence[str], features: Mapping[str, Any], given: Mapping[str, str]
) -> dict[str, str]:
    """Which column is the label, the group, ..."""
    found = {}
    for name in ("label", "split", "fold", "group"):
        wanted = [given[name]] if name in given else [name, *ALIASES.get(name, ())]
        column = next((column for column in wanted if column in names), None)
        if column is None and name in given:
            raise DataError(f"{file}: has no column {given[name]!r}; its columns are {list(names)}")
        if column is not None:
            found[name] = column
    if "label" not in found:
        labels = [name for name, feature in features.items() if _classes(feature)]
        if len(labels) != 1:
            raise DataError(
                f"{file}: has no column 'label'; its columns are {list(names)} "
                "(data.columns maps them: label=NAME)"
            )
        found["label"] = labels[0]
    return found


def _classes(feature: Any) -> list[str]:
    """The names that numbers stand for, of a ClassLabel or a list of them."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    if not isinstance(feature, dict):
        return []
    return list(feature.get("names") or _classes(feature.get("feature")))


def _text(value: Any, classes: Sequence[str], separator: str, what: str) -> str | None:
    if isinstance(value, list):
        if not separator:
            raise DataError(
                f"{what} is a list; accepted is one label, or several with data.label_separator"
            )
        return separator.join(_text(one, classes, separator, what) or "" for one in value)
    if classes and isinstance(value, int):
        # -1 is what `datasets` puts where there is no label.
        if not -1 <= value < len(classes):
            raise DataError(f"{what} is {value}; there are {len(classes)} classes")
        return None if value < 0 else classes[value]
    return None if value is None or str(value).strip() == "" else str(value).strip()
