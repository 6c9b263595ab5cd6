"""Named arrays in one file, as the C library of csrc/runtime reads them (file.h describes it)."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from wavenet.errors import DataError

Array = NDArray[np.generic]

MAGIC = b"wavenet\0"
VERSION = 1
ALIGNMENT = 64
MOST_ARRAYS = 1024
# uint8: text; uint16: bfloat16
TYPES = {"float32": 1, "float64": 2, "int64": 3, "uint8": 4, "int8": 5, "uint16": 6}


def numbers(dtype: type[np.generic], *values: float) -> Array:
    """A list of numbers, most often one."""
    return np.array(values, dtype)


def text(*texts: str) -> Array:
    """Each ends with a zero."""
    return np.frombuffer(b"".join(each.encode() + b"\0" for each in texts), np.uint8)


def packed(arrays: dict[str, Array]) -> bytes:
    """The content of the file.

    Raises:
        DataError: more arrays than the C library reads.
    """
    if len(arrays) > MOST_ARRAYS:
        raise DataError(f"the model has {len(arrays)} arrays; a file holds up to {MOST_ARRAYS}")
    table, data = b"", b""
    begin = _aligned(32 + 64 * len(arrays))
    for name, array in arrays.items():
        data += bytes(_aligned(len(data)) - len(data))
        kind = TYPES[str(array.dtype)]
        table += struct.pack("<40sIIQQ", name.encode(), kind, 0, begin + len(data), array.size)
        data += array.tobytes()
    covered = struct.pack("<QII", begin + len(data), len(arrays), 0) + table
    covered += bytes(begin - 16 - len(covered)) + data
    return MAGIC + struct.pack("<II", VERSION, zlib.crc32(covered)) + covered


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
