"""What the parts of a data set are called elsewhere: split and fold folders, tables, lists."""

from __future__ import annotations

import re
from pathlib import Path

from wavenet.classifier.data.clips import SPLIT_NAMES
from wavenet.classifier.data.manifest import MANIFEST_SUFFIXES
from wavenet.classifier.data.walk import visible
from wavenet.errors import DataError

MANIFEST_NAME = "manifest.csv"
# As Hugging Face's AudioFolder has them.
_METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
# Words beside the one that says which split it is: "train_set", "Test Data", "metadata_val".
_FILLERS = frozenset("set data dataset split part files audio clips manifest list metadata".split())
_FOLD = re.compile(r"(?:fold|cv)[ _-]?(?:0*(\d+)|([a-z]))", re.IGNORECASE)
# As Speech Commands has them beside its class folders: paths, of which the rest is to train on.
_LISTS = {"validation_list.txt": "validation", "testing_list.txt": "test"}


def split_named(name: str) -> str | None:
    """The split that a folder or a table is of, by its name; None: none that is known."""
    if known := SPLIT_NAMES.get(name.lower()):
        return known
    words = [word for word in re.split(r"[\s_.-]+", name.lower()) if word not in _FILLERS]
    plain = "_".join(words)
    return SPLIT_NAMES.get(plain) or SPLIT_NAMES.get(plain.removesuffix("set"))


def fold_named(name: str) -> str | None:
    """The fold that a folder is, by its name; None: none."""
    found = _FOLD.fullmatch(name)
    return (found[1] or found[2]) if found else None


def manifests_of(root: Path) -> list[tuple[Path, str | None]]:
    """A data set's tables, with the split that each is of; none: it is one of folders."""
    for name in (MANIFEST_NAME, *_METADATA_NAMES):
        if (root / name).is_file():
            return [(root / name, None)]
    entries = visible(root)
    of_split = [
        (entry / name, split)
        for entry in entries
        if (split := split_named(entry.name))
        for name in _METADATA_NAMES
        if (entry / name).is_file()
    ]
    of_split = of_split or [
        (entry, split)
        for entry in entries
        if entry.suffix.lower() in MANIFEST_SUFFIXES and (split := split_named(entry.stem))
    ]
    if "train" in {split for _, split in of_split}:
        return [*of_split]
    tables = [table for name in ("meta", "metadata") for table in (root / name).glob("*.csv")]
    return [(tables[0], None)] if len(tables) == 1 and (root / "audio").is_dir() else []


def tables_beside(root: Path) -> list[str]:
    """Names of what may be tables, in a folder whose sub-folders are the classes."""
    return [
        entry.name
        for entry in visible(root)
        if entry.suffix.lower() in MANIFEST_SUFFIXES and entry.is_file()
    ]


def listed_splits(root: Path) -> dict[Path, str]:
    """Which of its recordings a folder's lists have for validation and test; empty: no list.

    Raises:
        DataError: a list can't be read.
    """
    splits: dict[Path, str] = {}
    for name, split in _LISTS.items():
        try:
            lines = (root / name).read_text(encoding="utf-8-sig").splitlines()
        except (FileNotFoundError, IsADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            what = getattr(error, "strerror", None) or "it is not UTF-8"
            raise DataError(f"{root / name}: can't be read ({what})") from error
        splits |= {root / line.strip(): split for line in lines if line.strip()}
    return splits
