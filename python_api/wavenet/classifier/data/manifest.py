"""Manifests: tables of recordings with their labels, as people and other programs write them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wavenet.classifier.data.clips import (
    SPLIT_NAMES,
    Clip,
    Place,
    Prepared,
    normal_label,
    split_of,
    with_tags,
)
from wavenet.errors import DataError

LINES = ".jsonl"  # a JSON object a line
MANIFEST_SUFFIXES = (".csv", ".tsv", LINES)
SEPARATORS = (",", ";", "\t", "|")
REQUIRED = ("path", "label")
OPTIONAL = ("split", "fold", "group", "start", "end")
# What `wavenet prepare` adds.
PREPARED = ("prepared_rate", "prepared_samples")
# What the columns are called elsewhere (Hugging Face, ESC-50, UrbanSound8K, Common Voice), in the
# order in which one is taken.
ALIASES = {
    "path": (
        *("file_name", "filename", "slice_file_name", "file", "filepath", "file_path", "audio"),
        "audio_filepath",
    ),
    "label": ("category", "class", "class_name", "labels", "target"),
    "split": ("subset", "partition"),
    "group": ("speaker", "speaker_id", "client_id"),
    "start": ("onset", "begin"),
    "end": ("offset",),
}
# Where recordings are, relative to a manifest's folder, if not there.
_FOLDERS = ("", "audio", "clips", "wavs", "../audio", "..")


def read_manifest(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    separator: str = "",
    events: bool = False,
) -> list[Clip]:
    """Read a table of recordings; the audio is not looked at.

    Separated by commas, semicolons, tabs or `|`, with a header, or a JSON object a line (.jsonl);
    UTF-8 or UTF-16 (anything else is taken for Windows-1252, with a warning). Its columns:

        path, label       required; relative paths start at the manifest's folder, or at `audio`,
                          `clips` or `wavs` in or beside it, or in folders of these that are
                          called as the folds (`fold1`), where the first one is found
        split             train, validation, test (see `SPLIT_NAMES`)
        fold, group       see `Clip`
        start, end        seconds, of a part of the recording; `end` may be empty: to its end

    or what `ALIASES` lists for them (for splits only where nothing else is in it); others are
    passed over. An optional column is filled in every row or empty in every row (but for `end`).

    Args:
        path: the file.
        columns: what columns are called here, by the names above.
        split: of all clips, where there is no such column.
        separator: stands between the labels of a clip that has several; a label may be empty then.
        events: rows are of events, of which a recording has any number: `start` and `end` are of
            one, and a row with an empty label is a recording without.

    Returns:
        The clips in the order of the rows.

    Raises:
        DataError: the file can't be read, lacks a column, has no rows, or a row (named by its line
            number) lacks a field, names an unknown split or no times, or repeats an earlier row's
            path (and times).
    """
    rows = _read_rows(path, _named(path, columns or {}), separator)
    header = rows[0][1]
    absent = [name for name in REQUIRED if name not in header]
    if absent:
        raise DataError(
            f"{path}: has no column {' and no column '.join(map(repr, absent))}; its columns are "
            f"{header}, expected path,label and optionally {','.join(OPTIONAL)} "
            "(data.columns maps them: path=NAME,label=NAME)"
        )
    twice = sorted({name for name in REQUIRED + OPTIONAL if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the header names the column {twice[0]!r} more than once")
    if len(rows) == 1:
        raise DataError(f"{path}: has a header but no rows; expected one row per recording")

    required = [name for name in REQUIRED if name == "path" or not (separator or events)]
    partly = ("start", "end") if events else ("end",)
    filled = _filled_columns(path, header, rows[1:], required, partly)
    table = [dict(zip(header, row, strict=True)) for _, row in rows[1:]]
    root, by_fold = _root(path, table[0])
    clips: list[Clip] = []
    line_of: dict[Place, int] = {}
    for (line, _), row in zip(rows[1:], table, strict=True):
        folder = root / _fold_folder(row) if by_fold else root
        clip = _clip(path, folder, line, row, filled, split)
        if clip.place in line_of and not events:
            raise DataError(
                f"{path}, line {line}: {clip.path.name} is already listed in line "
                f"{line_of[clip.place]}; each recording may be listed once"
            )
        line_of[clip.place] = line
        clips.append(clip)
    return with_tags(clips, separator)


def parse_columns(text: str) -> dict[str, str]:
    """`path=filename,label=category` as a mapping.

    Raises:
        DataError: it is none, or of columns that there are not.
    """
    columns: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        name, equals, column = (part.strip() for part in item.partition("="))
        if not equals or not column or name not in REQUIRED + OPTIONAL:
            raise DataError(
                f"columns is {text!r}; accepted is NAME=COLUMN,..., a NAME being one of "
                f"{', '.join(REQUIRED + OPTIONAL)}"
            )
        columns[name] = column
    return columns


def _named(path: Path, columns: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What each column may be called, lower case, likeliest first."""
    names = {name: (name, *ALIASES.get(name, ())) for name in REQUIRED + OPTIONAL}
    return names | {name: (column.strip().lower(),) for name, column in columns.items()}


def _read_rows(
    path: Path, names: Mapping[str, tuple[str, ...]], between: str
) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, with the line each ends on; the header, in our words, first."""
    text = _read_text(path)
    rows = (
        _objects(path, text, between) if path.suffix.lower() == LINES else _cut(path, text, names)
    )
    if not rows:
        raise DataError(f"{path}: is empty; expected a header path,label and one row per recording")
    header = _translated(rows[0][1], names)
    if "split" in header:
        at = header.index("split")
        if any(row[at : at + 1] and not _is_split(row[at]) for _, row in rows[1:]):
            # A "subset" may be of something else, but a "split" is to be one.
            header = _translated(rows[0][1], {**names, "split": names["split"][:1]})
    rows[0] = (rows[0][0], header)
    return rows


def _is_split(text: str) -> bool:
    return text.strip().lower() in SPLIT_NAMES


def _cut(
    path: Path, text: str, names: Mapping[str, tuple[str, ...]]
) -> list[tuple[int, list[str]]]:
    """The rows of a table whose cells are separated."""
    lines = list(io.StringIO(text, newline=""))  # str.splitlines ends lines inside of fields, too
    if lines and lines[0].lower().startswith("sep="):  # a line for spreadsheets alone
        lines[0] = "\n"
    first = next((line for line in lines if line.strip()), "")
    # The one that makes a header we know, or else the likeliest.
    separator = max(
        SEPARATORS,
        key=lambda s: (len(set(_translated(_cells(first, s), names)) & set(REQUIRED)), s in first),
    )
    try:
        reader = csv.reader(lines, delimiter=separator)
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV file ({error})") from error


def _objects(path: Path, text: str, between: str) -> list[tuple[int, list[str]]]:
    """The rows of a table that is a JSON object a line; `between` goes between several labels."""
    rows: list[tuple[int, dict[str, object]]] = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {line}: is no JSON object; accepted is one a line")
        rows.append((line, row))
    header = list(dict.fromkeys(name for _, row in rows for name in row))

    def cell(line: int, name: str, value: object) -> str:
        if isinstance(value, list) and between:
            return between.join(map(str, value))
        if isinstance(value, (list, dict)) and name.lower() in ("label", *ALIASES["label"]):
            raise DataError(
                f"{path}, line {line}: the field {name!r} is {value!r}; several labels a clip are "
                "read where data.label_separator is set"
            )
        return "" if value is None else str(value)

    cells = [(line, [cell(line, name, row.get(name)) for name in header]) for line, row in rows]
    return [(0, header), *cells] if cells else []


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _translated(header: list[str], names: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The header with our names in place of others' for the same."""
    own = [cell.strip().lower() for cell in header]
    if "slice_file_name" in own:  # UrbanSound8K's times are of what the clips were cut from
        own = ["" if cell in ("start", "end") else cell for cell in own]
    for name, called in names.items():
        column = next((column for column in called if column in own), None)
        if column is not None and column != name:
            own = [name if cell == column else cell if cell != name else "" for cell in own]
    return own


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    wide = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
    if not wide and b"\0" in content[:2]:  # half of an ASCII character of two bytes
        wide = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    try:
        text = content.decode(wide or "utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            if wide:
                raise error
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            raise DataError(f"{path}: is not text (byte {error.start}); save it as UTF-8") from None
        warnings.warn(
            f"{path}: is not UTF-8 (byte {error.start}); it is read as Windows-1252", stacklevel=2
        )
    return text.replace("\0", "\ufffd")  # no path holds one, and csv stops at it


def _filled_columns(
    path: Path,
    header: list[str],
    rows: list[tuple[int, list[str]]],
    required: Sequence[str],
    partly: Sequence[str],
) -> set[str]:
    """The optional columns that hold something; also checks that every row is complete."""
    optional = OPTIONAL + PREPARED
    first_filled: dict[str, int] = {}
    first_empty: dict[str, int] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: has {len(row)} fields, the header has {len(header)}; "
                "a separator inside a field needs quotes around the field"
            )
        for name, value in zip(header, row, strict=True):
            if name in required and not value.strip():
                raise DataError(f"{path}, line {line}: the field {name!r} is empty; it is required")
            if name in optional:
                (first_filled if value.strip() else first_empty).setdefault(name, line)
    for name in first_filled:
        if name in first_empty and name not in partly:
            raise DataError(
                f"{path}, line {first_empty[name]}: the field {name!r} is empty, but line "
                f"{first_filled[name]} fills it; fill it in every row or in none"
            )
    return set(first_filled)


def _root(manifest: Path, row: Mapping[str, str]) -> tuple[Path, bool]:
    """Where relative paths start: the folder that the first recording is found in.

    And whether it is in a folder of this one that is called as its fold.
    """
    name = row["path"].strip()
    for by_fold in (False, True) if row.get("fold", "").strip() else (False,):
        for folder in _FOLDERS:
            root = Path(os.path.normpath(manifest.parent / folder)) if folder else manifest.parent
            found = root / _fold_folder(row) if by_fold else root
            if _is_file(found / name) or _is_file(found / name.replace("\\", "/")):
                return root, by_fold
    return manifest.parent, False


def _fold_folder(row: Mapping[str, str]) -> str:
    return f"fold{row['fold'].strip()}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name
        return False


def _clip(
    manifest: Path, root: Path, line: int, row: dict[str, str], filled: set[str], split: str | None
) -> Clip:
    text: dict[str, Any] = {
        name: row[name].strip() for name in ("split", "fold", "group") if name in filled
    }
    if "split" in text:
        text["split"] = split_of(text["split"], f"{manifest}, line {line}: the split")
    elif split is not None:
        text["split"] = split
    times = {name: row[name].strip() for name in ("start", "end") if name in filled}
    start = _seconds(manifest, line, "start", times.get("start") or "0")
    end = _seconds(manifest, line, "end", times["end"]) if times.get("end") else None
    if end is not None and end <= start:
        raise DataError(f"{manifest}, line {line}: ends at {end:g} s, but starts at {start:g} s")
    name = row["path"].strip()
    path = root / name
    if "\\" in name and not _is_file(path):
        path = root / name.replace("\\", "/")
    prepared = None
    if not filled.isdisjoint(PREPARED):
        rate, samples = (_count(manifest, line, name, row.get(name, "")) for name in PREPARED)
        prepared = Prepared(rate, samples)
    return Clip(
        path,
        normal_label(row["label"]),
        start=start,
        end=end,
        prepared=prepared,
        **text,
    )


def _count(manifest: Path, line: int, name: str, text: str) -> int:
    if not (text.strip().isdecimal() and int(text) > 0):
        raise DataError(
            f"{manifest}, line {line}: the field {name!r} is {text!r}; accepted is a number from 1"
        )
    return int(text)


def _seconds(manifest: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text.replace(",", "."))
        if not (math.isfinite(value) and value >= 0):
            raise ValueError
    except ValueError:
        raise DataError(
            f"{manifest}, line {line}: the field {name!r} is {text!r}; accepted are seconds"
        ) from None
    return value
