"""What tells that a file is still the one that was read."""

from __future__ import annotations

from pathlib import Path

from wavenet.errors import AudioError


def state_of(file: Path) -> tuple[Path, int, int]:
    """The file, its size and when it changed: a key for what is known of it.

    Raises:
        AudioError: it can't be read.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise AudioError(f"{file}: can't be read ({error.strerror})", "missing") from None
    return file, found.st_size, found.st_mtime_ns
