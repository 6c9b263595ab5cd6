"""Writing files so that a reader finds the old content or the new, never a part of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Write the file whole or not at all, also if the machine stops in the middle.

    What is no file, as /dev/null, is written to and stays; so does a link, to what it leads to.

    Raises:
        OSError: it can't be written; what was there before is there still, and nothing beside it.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The same of what is too large to be held twice: it is written to the path that this gives."""
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        yield path
        return
    partial = place.with_name(f".{place.name}.partial")
    try:
        yield partial
        sync(partial)
        os.replace(partial, place)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):  # it is the file that was asked for that the user knows
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def sync(path: Path) -> None:
    """Wait until a file's or folder's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
