"""The length of an MP3 file that doesn't state it.

libsndfile goes by the first frame's Xing or VBRI header. Without one it takes all frames to be as
long as the first, and what lies behind the end of that is lost. Facts: the frame header of ISO/IEC
11172-3 and 13818-3, and the Xing header as LAME writes it.
"""

from __future__ import annotations

from pathlib import Path

# Of layer III, kbit/s by index; 0 is "free" and 15 is none.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, -1)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, -1)
_HERTZ = (44_100, 48_000, 32_000)


def with_length(path: Path) -> bytes | None:
    """The content with a header that counts its frames; None: it needs none, or is no MP3."""
    with open(path, "rb") as file:
        first = _after_tag(file.read(10))
        file.seek(first)
        frame = file.read(40)
    size = frame_size(frame, 0)
    if size is None or _states_length(frame):
        return None
    content = path.read_bytes()
    frames, varies, at = 0, False, first
    kind = content[first + 2] >> 4
    while (step := frame_size(content, at)) is not None:
        varies = varies or content[at + 2] >> 4 != kind
        frames, at = frames + 1, at + step
    if not varies:
        return None
    header = bytearray(size)
    header[:4] = content[first : first + 4]
    header[1] |= 1  # without a checksum
    start = 4 + _side_size(header)
    if size < start + 12:
        return None
    header[start : start + 12] = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return content[:first] + bytes(header) + content[first:]


def _after_tag(content: bytes) -> int:
    """Where the first frame is: an ID3v2 tag names its size in bytes of seven bits."""
    if content[:3] != b"ID3" or len(content) < 10:
        return 0
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def frame_size(content: bytes, at: int) -> int | None:
    """Bytes of the frame of layer III that starts here; None: none does."""
    head = content[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version = head[1] >> 3 & 3  # 0: MPEG 2.5, 2: MPEG 2, 3: MPEG 1
    kbits = (_RATES_1 if version == 3 else _RATES_2)[head[2] >> 4]
    rate = head[2] >> 2 & 3
    if version == 1 or kbits <= 0 or rate == 3:
        return None
    hertz = _HERTZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if version == 3 else 72) * kbits * 1000 // hertz + (head[2] >> 1 & 1)


def _side_size(frame: bytes | bytearray) -> int:
    """Bytes of side information, which Xing's header follows."""
    mono = frame[3] >> 6 == 3
    if frame[1] >> 3 & 3 == 3:
        return 17 if mono else 32
    return 9 if mono else 17


def _states_length(frame: bytes) -> bool:
    start = 4 + _side_size(frame)
    return frame[start : start + 4] in (b"Xing", b"Info") or frame[36:40] == b"VBRI"
