"""The folder of decoded clips: how full it is, and what goes when it is too full."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wavenet.errors import DataError

LIMIT_NAME = "WAVENET_CACHE_GB"
DEFAULT_LIMIT_GB = 50.0
# What a full folder is brought down to, so that it isn't looked through for every clip.
KEPT = 0.9


class CachedFile(NamedTuple):
    """Ordered by when it was used last, in seconds since 1970."""

    used: float
    path: Path
    size: int


def limit_bytes() -> int:
    """What a cache folder may hold: `$WAVENET_CACHE_GB` in 10^9 bytes, 50 by default.

    Raises:
        DataError: it is no number, or below 0.
    """
    given = os.environ.get(LIMIT_NAME, "")
    try:
        gigabytes = float(given or DEFAULT_LIMIT_GB)
        if not 0 <= gigabytes < 1e9:
            raise ValueError
    except ValueError:
        raise DataError(f"{LIMIT_NAME} is {given!r}; accepted is a number of GB from 0") from None
    return round(gigabytes * 1e9)


def cached_files(folder: Path) -> Iterator[CachedFile]:
    """The clips of a cache folder, and what killed processes left; other files are not touched."""
    for part in _listed(folder):
        if not (re.fullmatch("[0-9a-f]{2}", part.name) and part.is_dir()):
            continue
        for entry in _listed(Path(part.path)):
            if entry.name.endswith((".npy", ".partial")):
                with contextlib.suppress(OSError):  # another process may have removed it
                    stat = entry.stat()
                    yield CachedFile(stat.st_mtime, Path(entry.path), stat.st_size)


def size_of(folder: Path) -> int:
    """Bytes of all its clips."""
    return sum(file.size for file in cached_files(folder))


def prune(folder: Path, limit: int, *, used_before: float = float("inf")) -> int:
    """Remove the clips that were not used for longest until the rest has `limit` bytes.

    Nothing depends on them but time: they are decoded again when they are needed.

    Args:
        folder: of an `AudioCache`.
        limit: in bytes.
        used_before: clips that were used since then stay.

    Returns:
        How many bytes are left.
    """
    files = sorted(cached_files(folder))
    left = sum(file.size for file in files)
    for file in files:
        if left <= limit or file.used >= used_before:
            break
        with contextlib.suppress(OSError):
            file.path.unlink(missing_ok=True)
            left -= file.size
    return left


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
