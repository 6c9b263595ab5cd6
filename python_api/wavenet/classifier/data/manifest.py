"""The CSV manifest: path,label[,split][,fold][,group], checked row by row."""

from __future__ import annotations

import csv
from pathlib import Path

from wavenet.classifier.data.clips import SPLIT_NAMES, Clip, normal_label
from wavenet.errors import DataError

REQUIRED = ("path", "label")
OPTIONAL = ("split", "fold", "group")


def read_manifest(path: Path) -> list[Clip]:
    """Read a manifest (UTF-8, comma-separated, with a header); the audio is not looked at.

    Relative paths start at the manifest's folder. Columns other than the five known ones are
    passed over. An optional column is filled in every row or empty in every row.

    Returns:
        The clips in the order of the rows.

    Raises:
        DataError: the file can't be read, lacks a column, has no rows, or a row (named by its line
            number) lacks a field, names an unknown split, or repeats an earlier row's path.
    """
    rows = _read_rows(path)
    header = [name.strip().lower() for name in rows[0][1]]
    absent = [name for name in REQUIRED if name not in header]
    if absent:
        raise DataError(
            f"{path}: has no column {' and no column '.join(map(repr, absent))}; its columns are "
            f"{header}, expected path,label and optionally split,fold,group (comma-separated)"
        )
    twice = sorted({name for name in REQUIRED + OPTIONAL if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the header names the column {twice[0]!r} more than once")
    if len(rows) == 1:
        raise DataError(f"{path}: has a header but no rows; expected one row per recording")

    filled = _filled_columns(path, header, rows[1:])
    clips: list[Clip] = []
    line_of: dict[Path, int] = {}
    for line, row in rows[1:]:
        clip = _clip(path, line, dict(zip(header, row, strict=True)), filled)
        if clip.path in line_of:
            raise DataError(
                f"{path}, line {line}: {clip.path.name} is already listed in line "
                f"{line_of[clip.path]}; each recording may be listed once"
            )
        line_of[clip.path] = line
        clips.append(clip)
    return clips


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, with the line each ends on; the header is the first."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV file ({error})") from error
    if not rows:
        raise DataError(f"{path}: is empty; expected a header path,label and one row per recording")
    return rows


def _filled_columns(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> set[str]:
    """The optional columns that hold something; also checks that every row is complete."""
    first_filled: dict[str, int] = {}
    first_empty: dict[str, int] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: has {len(row)} fields, the header has {len(header)}; "
                "a comma inside a field needs quotes around the field"
            )
        for name, value in zip(header, row, strict=True):
            if name in REQUIRED and not value.strip():
                raise DataError(f"{path}, line {line}: the field {name!r} is empty; it is required")
            if name in OPTIONAL:
                (first_filled if value.strip() else first_empty).setdefault(name, line)
    for name in first_filled:
        if name in first_empty:
            raise DataError(
                f"{path}, line {first_empty[name]}: the field {name!r} is empty, but line "
                f"{first_filled[name]} fills it; fill it in every row or in none"
            )
    return set(first_filled)


def _clip(manifest: Path, line: int, row: dict[str, str], filled: set[str]) -> Clip:
    extra = {name: row[name].strip() for name in OPTIONAL if name in filled}
    if "split" in extra:
        split = SPLIT_NAMES.get(extra["split"].lower())
        if split is None:
            raise DataError(
                f"{manifest}, line {line}: the split is {extra['split']!r}; accepted are train, "
                "validation (or val, valid, dev) and test"
            )
        extra["split"] = split
    return Clip(manifest.parent / row["path"].strip(), normal_label(row["label"]), **extra)
