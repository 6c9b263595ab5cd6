"""What is in a folder, at any depth, without what systems leave there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from wavenet.classifier.data.clips import natural_key
from wavenet.errors import DataError

_SYSTEM_FOLDERS = frozenset(
    ("$recycle.bin", "system volume information", "@eadir", "lost+found", "__macosx", "#recycle")
)


def visible(folder: Path) -> list[Path]:
    """What a folder holds but for hidden and system entries, sorted (numbers by value).

    Raises:
        DataError: it can't be listed.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: can't be listed ({error.strerror})") from error
    kept = [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry.name.lower() not in _SYSTEM_FOLDERS
    ]
    return sorted(kept, key=lambda entry: natural_key(entry.name))


def files_in(
    folder: Path,
    *,
    enter: Callable[[Path], bool] = lambda folder: True,
    unlistable: list[Path] | None = None,
) -> Iterator[Path]:
    """Files at any depth, and links that lead nowhere.

    Links to folders are followed, circles of them are not.

    Args:
        folder: where to look.
        enter: whether a folder in it is looked into.
        unlistable: takes the folders that can't be listed, which are an error otherwise.

    Raises:
        DataError: a folder can't be listed.
    """

    def walk(folder: Path, seen: frozenset[Path]) -> Iterator[Path]:
        real = folder.resolve()
        if real in seen:
            return
        try:
            entries = visible(folder)
        except DataError:
            if unlistable is None:
                raise
            unlistable.append(folder)
            return
        for entry in entries:
            if not entry.is_dir():
                yield entry
            elif enter(entry):
                yield from walk(entry, seen | {real})

    yield from walk(folder, frozenset())
