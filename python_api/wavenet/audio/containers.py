"""What a pipe or a file brings: containers are known by their first bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from wavenet.audio.mp3 import frame_size
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
    """A binary file, and what has been read of it and is yet to be handed out."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.head = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, which `read` gives once more; fewer only at the end."""
        if len(self.head) < size:
            self.head += self.file.read(size - len(self.head))
        return self.head[:size]

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
    peeked = Peeked(file)
    container = container_of(peeked)
    if container == "WAV":
        return peeked, _read_header(peeked, what)  # type: ignore[return-value]
    if container:
        raise DataError(
            f"{what} brings {container}, not raw PCM; give the recording as a file, or decode it: "
            "ffmpeg -v error -i - -f s16le -ac 1 -ar RATE -"
        )
    return peeked, {}  # type: ignore[return-value]


def container_of(file: Peeked) -> str:
    """The container that begins so; empty: none that is known."""
    head = file.peek(HEAD)
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
        (b"NIST_1A", "NIST SPHERE"),
        (b"Creative Voi", "Creative Voice"),
        (b"#!AMR", "AMR"),
        (b"MAC ", "Monkey's Audio"),
        (b"MPCK", "Musepack"),
        (b"TTA1", "TTA"),
        (b"DSD ", "DSF"),
        (b"\x1aE\xdf\xa3", "Matroska or WebM"),
        (b"\x30\x26\xb2\x75", "WMA"),
    ):
        if head.startswith(start):
            return name
    return "MP4" if head[4:8] == b"ftyp" else _framed(file)


def _framed(file: Peeked) -> str:
    """MP3 or AAC without a container: a frame, and another where it ends.

    A frame's first bytes alone may be two samples.
    """
    for name, size_of in (("MP3", lambda head: frame_size(head, 0)), ("AAC", _adts_size)):
        size = size_of(file.peek(HEAD))
        if size and size_of(file.peek(size + HEAD)[size:]):
            return name
    return ""


def _adts_size(head: bytes) -> int | None:
    """Bytes of the frame of AAC (ISO/IEC 13818-7, 6.2) that starts here; None: none does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else None


def unfinished_wav(path: Path) -> BinaryIO | None:
    """A WAV file whose header has no length, because its writer couldn't go back or was killed.

    With a header that has it; None: it is no such file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEAD)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        at, chunk = HEAD, file.read(8)
        while len(chunk) == 8 and chunk[:4] != b"data":
            at += 8 + (length := int.from_bytes(chunk[4:], "little")) + length % 2
            file.seek(at)
            chunk = file.read(8)
        samples = at + 8
        if chunk != b"data\0\0\0\0" or samples >= size or _are_chunks(file, samples, size):
            return None
        file.seek(0)
        header = bytearray(file.read(samples))
    for field, length in ((4, size - 8), (samples - 4, size - samples)):
        header[field : field + 4] = min(length, 0xFFFFFFFF).to_bytes(4, "little")
    return _Patched(path, bytes(header))  # type: ignore[return-value]


def _are_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Whether the rest of a RIFF file is chunks, up to its end."""
    while at < size:
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8 or not chunk[:4].isascii():
            return False
        length = int.from_bytes(chunk[4:], "little")
        at += 8 + length + length % 2
    return at == size


class _Patched:
    """A file with another beginning: all that libsndfile asks of one."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 (closed with what reads it)
        self._head = head

    def read(self, size: int = -1) -> bytes:
        at = self._file.tell()
        data = self._file.read(size)
        begun = self._head[at : at + len(data)]
        return begun + data[len(begun) :]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


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
