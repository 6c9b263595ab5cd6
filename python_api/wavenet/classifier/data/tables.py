"""Data sets as Hugging Face's `datasets` keeps them on disk: Arrow and Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wavenet.audio.tables import SUFFIXES, open_table
from wavenet.classifier.data.clips import (
    SPLIT_NAMES,
    SPLITS_ACCEPTED,
    Clip,
    normal_label,
    split_of,
    with_tags,
)
from wavenet.classifier.data.manifest import ALIASES
from wavenet.classifier.data.walk import visible
from wavenet.errors import DataError

# What is taken from columns.
NAMES = ("label", "split", "fold", "group")


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
    (`ALIASES`); the label may be the only ClassLabel. Numbers of classes get their names. Columns
    of times are passed over: a row's recording is whole.

    Args:
        files: what `tables_in` found.
        columns: what columns are called here: label=NAME, group=NAME.
        separator: stands between the labels of a clip that has several; a row may have a list of
            them instead.

    Raises:
        DataError: a file can't be read, lacks a column, or is of no split where others are of one;
            or a row lacks a label.
    """
    strange = sorted(set(columns or {}) - set(NAMES))
    if strange:
        raise DataError(
            f"data.columns names {strange[0]!r}; of a table accepted are {', '.join(NAMES)}"
        )
    splits = {file: _split(file) for file in files}
    unknown = [file.name for file, split in splits.items() if split is None]
    if 0 < len(unknown) < len(files):
        raise DataError(
            f"{files[0].parent}: some of its files are of a split by their names, and not "
            f"{', '.join(unknown)}; accepted are {SPLITS_ACCEPTED}, before the first '-'"
        )
    return [
        clip for file, split in splits.items() for clip in _clips(file, split, columns, separator)
    ]


def _clips(
    file: Path, split: str | None, columns: Mapping[str, str] | None, separator: str
) -> list[Clip]:
    table = open_table(file)
    names = list(table.schema.names)
    if table.column is None:
        raise DataError(
            f"{file}: has no column of audio (a struct with bytes and path, as `datasets` writes "
            f"Audio); its columns are {names}"
        )
    named = _columns(file, names, table.features, columns or {})
    classes = {name: _classes(table.features.get(column)) for name, column in named.items()}
    files = table.named_files()
    clips = []
    for number, row in enumerate(table.rows(list(named.values()))):
        where = f"{file}: row {number}"
        texts = {
            name: _texts(row[column], classes[name], f"{where}: {column}")
            for name, column in named.items()
        }
        labels = texts["label"]
        if not labels and not separator:
            raise DataError(f"{where} has no label")
        if isinstance(row[named["label"]], list) and not separator:
            raise DataError(
                f"{where}: {named['label']} is a list; accepted is one label, or several with "
                "data.label_separator"
            )
        known = {name: text[0] for name, text in texts.items() if text}
        path = file / str(number)
        if files is not None and files[number]:
            path = file.parent / str(files[number])
        clip = Clip(
            path,
            separator.join(labels),
            split_of(known["split"], f"{where}: split") if "split" in known else split,
            known.get("fold"),
            known.get("group"),
        )
        if isinstance(row[named["label"]], list):
            clip = replace(clip, tags=tuple(dict.fromkeys(labels)))
        else:
            (clip,) = with_tags([clip], separator)
        clips.append(clip)
    return clips


def _split(file: Path) -> str | None:
    first = file.name.lower().partition("-")[0].partition(".")[0]
    return SPLIT_NAMES.get(first) or SPLIT_NAMES.get(file.parent.name.lower())


def _columns(
    file: Path, names: Sequence[str], features: Mapping[str, Any], given: Mapping[str, str]
) -> dict[str, str]:
    """Which column is the label, the group, ..."""
    by_name = {name.strip().lower(): name for name in reversed(names)}
    found = {}
    for name in NAMES:
        wanted = [given[name]] if name in given else [name, *ALIASES.get(name, ())]
        columns = [by_name[one.strip().lower()] for one in wanted if one.strip().lower() in by_name]
        if not columns and name in given:
            raise DataError(f"{file}: has no column {given[name]!r}; its columns are {names}")
        if columns:
            found[name] = columns[0]
    if "label" not in found:
        labels = [name for name, feature in features.items() if _classes(feature)]
        if len(labels) != 1:
            raise DataError(
                f"{file}: has no column 'label'; its columns are {names} "
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


def _texts(value: Any, classes: Sequence[str], what: str) -> list[str]:
    """A field's text, or texts of a list; none where it is empty."""
    if isinstance(value, list):
        return [text for one in value for text in _texts(one, classes, what)]
    if classes and isinstance(value, int):
        # -1 is what `datasets` puts where there is no label.
        if not -1 <= value < len(classes):
            raise DataError(f"{what} is {value}; there are {len(classes)} classes")
        value = None if value < 0 else classes[value]
    text = "" if value is None else normal_label(str(value))
    return [text] if text else []
