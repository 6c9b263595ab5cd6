"""Recordings inside tar files, named as if the tar file were a folder: `shard-000000.tar/7.flac`.

This is how WebDataset keeps many small files: a file system has few large ones to handle, and each
recording is still read by itself, in any order.
"""

from __future__ import annotations

import functools
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from wavenet.audio.state import state_of
from wavenet.errors import AudioError

TAR = ".tar"
BLOCK = 512
_END = bytes(BLOCK)


class Member(NamedTuple):
    """Where a file is inside a tar file, in bytes."""

    offset: int
    size: int


def in_tar(path: Path) -> tuple[Path, str] | None:
    """The tar file, and the name in it, where a path leads into one."""
    if TAR not in str(path).lower():
        return None
    for folder in path.parents:
        if folder.suffix.lower() == TAR and folder.is_file():
            return folder, path.relative_to(folder).as_posix()
    return None


def members(tar: Path) -> Mapping[str, Member]:
    """The files in a tar file by name; its headers are read once as long as it does not change.

    Raises:
        AudioError: it can't be read, or is damaged.
    """
    return _members(*state_of(tar))


def read_member(tar: Path, name: str) -> bytes:
    """The content of a file in a tar file.

    Raises:
        AudioError: the tar file can't be read, or has no such file.
    """
    member = members(tar).get(name)
    if member is None:
        raise AudioError(f"{tar}: holds no file {name!r}", "missing")
    with open(tar, "rb") as file:
        content = os.pread(file.fileno(), member.size, member.offset)
    if len(content) < member.size:
        raise AudioError(f"{tar}: ends within {name!r}")
    return content


@functools.cache
def _members(tar: Path, size: int, changed: int) -> Mapping[str, Member]:
    try:
        found = _scanned(tar, size)
        if found is not None:
            return found
        with tarfile.open(tar, "r:") as file:
            return {
                info.name.removeprefix("./"): Member(info.offset_data, info.size)
                for info in file
                if info.isreg()
            }
    except (OSError, tarfile.TarError) as error:
        raise AudioError(f"{tar}: can't be read as a tar file ({error})") from None


def _scanned(tar: Path, size: int) -> dict[str, Member] | None:
    """The files in a tar file of plain headers; None where there are others, or damage.

    `tarfile` reads all kinds, and takes many times as long.
    """
    found: dict[str, Member] = {}
    at = 0
    with open(tar, "rb", buffering=0) as file:
        number = file.fileno()
        while at < size:
            header = os.pread(number, BLOCK, at)
            if len(header) < BLOCK:
                return None
            if header == _END:
                return found
            kind, digits = header[156:157], header[124:136].strip(b" \0")
            plain = kind in (b"0", b"\0", b"5") and digits.isdigit()
            if not plain or header[257:263] != b"ustar\0":
                return None
            length = int(digits, 8)
            if kind != b"5":
                parts = (header[345:500], header[:100])
                name = b"/".join(p.partition(b"\0")[0] for p in parts if p[0])
                found[name.decode(errors="surrogateescape").removeprefix("./")] = Member(
                    at + BLOCK, length
                )
            at += BLOCK + -(-length // BLOCK) * BLOCK
    return None
