"""Recordings inside files that hold many, into which their paths lead: tar, Parquet, Arrow."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wavenet.audio.shards import in_tar, members, read_member
from wavenet.audio.tables import in_table, open_table


class Inside(NamedTuple):
    """A recording, by its name in the file that holds it."""

    file: Path
    name: str
    of_table: bool

    @property
    def is_there(self) -> bool:
        """Whether the file holds it."""
        if self.of_table:
            return int(self.name) < open_table(self.file).count
        return self.name in members(self.file)

    @property
    def at_hand(self) -> bool:
        """Whether reading it takes reading nothing else."""
        return self.file.suffix.lower() != ".parquet"

    def read(self) -> bytes:
        """Its content.

        Raises:
            AudioError: the file can't be read, or does not hold it.
        """
        if self.of_table:
            return open_table(self.file).read(int(self.name))
        return read_member(self.file, self.name)


def inside(path: Path) -> Inside | None:
    """Where a path leads; None: to a file of its own, or to nothing."""
    if found := in_tar(path):
        return Inside(*found, of_table=False)
    if found := in_table(path):
        return Inside(*found, of_table=True)
    return None
