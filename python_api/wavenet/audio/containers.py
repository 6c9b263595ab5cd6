"""What a pipe brings when it isn't raw PCM: containers are known by their first bytes."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from wavenet.errors import DataError

# Longest first bytes that are looked at.
HEAD = 12
WAV = (b"RIFF", b"RF64", b"BW64")
# WAV's format tags, with bits: what `pcm_blocks` calls them.
WAV_FORMATS = {(1, 16): "s16", (1, 32): "s32", (3, 32): "f32"}
EXTENSIBLE = 0xFFFE
# The fields of a fmt chunk that are of use; others may follow.
FMT_SIZE = 16


class Peeked:
    """A binary file of which the first bytes have been read."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self.file = file
        self.head = head

    def read(self, size: int) -> bytes:
        """Up to so many bytes, fewer only at the end."""
        data, self.head = self.head[:size], self.head[size:]
        return data + self.file.read(size - len(data)) if len(data) < size else data


def open_raw(file: BinaryIO, what: str) -> tuple[BinaryIO, dict[str, Any]]:
    """A pipe that is to bring raw PCM; of a WAV file, what follows its header.

    Args:
        file: binary; it isn't sought in.
        what: its name, for the errors.

    Returns:
        What to read the samples from, and the arguments of `pcm_blocks` that a header told.

    Raises:
        DataError: another container, or a WAV file of samples that `pcm_blocks` does not know.
    """
    peeked = Peeked(file, file.read(HEAD))
    container = container_of(peeked.head)
    if container == "WAV":
        return peeked, _read_header(peeked, what)  # type: ignore[return-value]
    if container:
        raise DataError(
            f"{what} brings {container}, not raw PCM; give the recording as a file, or decode it: "
            "ffmpeg -v error -i - -f s16le -ac 1 -ar RATE -"
        )
    return peeked, {}  # type: ignore[return-value]


def container_of(head: bytes) -> str:
    """The container that begins so; empty: none that is known."""
    if head[:4] in WAV and head[8:12] == b"WAVE":
        return "WAV"
    for start, name in (
        (b"fLaC", "FLAC"),
        (b"OggS", "Ogg"),
        (b"ID3", "MP3"),
        (b"FORM", "AIFF"),
        (b"caff", "CAF"),
        (b".snd", "AU"),
        (b"wvpk", "WavPack"),
        (b"RIFX", "big-endian WAV"),
        (b"riff", "Wave64"),
        (b"\x1aE\xdf\xa3", "Matroska or WebM"),
        (b"\x30\x26\xb2\x75", "WMA"),
    ):
        if head.startswith(start):
            return name
    return "MP4" if head[4:8] == b"ftyp" else ""


def _read_header(file: Peeked, what: str) -> dict[str, Any]:
    """What a WAV header says, read up to the samples."""
    file.read(HEAD)
    told: dict[str, Any] = {}
    while len(chunk := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            if not told:
                break
            return told
        content = file.read(size + size % 2)
        if name == b"fmt " and len(content) >= FMT_SIZE:
            tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:FMT_SIZE])
            if tag == EXTENSIBLE and len(content) >= 26:
                tag = struct.unpack("<H", content[24:26])[0]
            if (tag, bits) not in WAV_FORMATS:
                raise DataError(
                    f"{what} brings WAV of {bits} bits (format {tag}); accepted are 16 and 32 bits "
                    "and 32-bit float: ffmpeg -v error -i - -f s16le -ac 1 -ar RATE -"
                )
            told = {"pcm_format": WAV_FORMATS[tag, bits], "rate": rate, "channels": channels}
    raise DataError(f"{what} brings WAV without samples, or without a format before them")
