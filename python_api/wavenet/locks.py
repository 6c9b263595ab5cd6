"""Folders that one process at a time writes to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from wavenet.errors import ConfigError

LOCK_NAME = ".lock"
# What POSIX lets the system say where another process has the lock.
HELD = (errno.EACCES, errno.EAGAIN)


class FolderLock:
    """The right to write to a folder.

    It is the system's lock of a file in there, which ends with the process, however that ends, and
    is not the children's: workers that outlive a killed process hold nothing up. The file says who
    has it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / LOCK_NAME
        self._file: TextIO | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            ConfigError: another process has it.
            OSError: the folder isn't there, or can't be written to.
        """
        file = open(self.path, "a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD:  # a file system without locks
                warnings.warn(
                    f"{self.folder} can't be locked ({error.strerror}): nothing keeps a second run "
                    "from writing to it",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._file = file
                return
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise ConfigError(
                f"{self.folder}: {holder} is writing to it; wait for it or stop it, or give "
                "another --out"
            ) from None
        if not self._is_still_there(file):  # whoever had it has just removed the file
            file.close()
            self.take()
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give it back, if it is ours."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _is_still_there(self, file: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def writable_folder(folder: Path) -> Iterator[FolderLock]:
    """The folder, made if it is not there, for this process alone.

    What was made of it is removed again where nothing was written.

    Raises:
        ConfigError: another process has it, or it can't be made or written to.
    """
    lock = FolderLock(folder)
    new = not folder.exists()
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.take()
        except OSError as error:
            raise ConfigError(f"{folder}: can't be made a run folder: {error.strerror}") from None
        yield lock
    finally:
        lock.release()
        if new:
            with contextlib.suppress(OSError):  # it isn't empty, or was never made
                folder.rmdir()
