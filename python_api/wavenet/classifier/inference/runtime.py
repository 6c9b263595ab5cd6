"""A classifier as a file for the C library of csrc/runtime, which needs no Python and no torch."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from wavenet.audio.effects import SILENCE
from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import DataError
from wavenet.networks.architecture import INPUTS, POOLINGS
from wavenet.networks.clip_norm import FLAT_VARIANCE, LEVEL

# csrc/runtime/file.h describes the format.
MAGIC = b"wavenet\0"
VERSION = 1
ALIGNMENT = 64
TYPES = {"float32": 1, "float64": 2, "int64": 3, "uint8": 4}  # uint8: text


def runtime_file(model: WaveNetClassifier) -> bytes:
    """The content of a model.wavenet: what the model is, and its weights in float32.

    Raises:
        DataError: the model's stem is a filterbank, which the C library does not have.
    """
    config, weights = model.config, model.state_dict()
    if config.filters:
        raise DataError(
            f"format runtime: the model's stem has {config.filters} filters; the C library accepts "
            "models whose stem is a plain convolution (filters: 0)"
        )
    arrays: dict[str, NDArray[np.generic]] = {
        "kind": _text("classifier"),
        "labels": _text(*config.labels),
        "sample_rate": _numbers(np.float64, config.sample_rate),
        "input": _numbers(np.int64, INPUTS.index(config.input)),
        "pooling": _numbers(np.int64, POOLINGS.index(config.pooling)),
        "dilations": _numbers(np.int64, *config.dilations),
        "residual_scale": _numbers(np.float64, model.stack.residual_scale),
    }
    for name in (
        "residual_channels",
        "dilation_channels",
        "skip_channels",
        "kernel_size",
        "stem_kernel_size",
        "stem_stride",
        "steps_per_frame",
        "head_layers",
        "head_channels",
        "head_kernel_size",
    ):
        arrays[name] = _numbers(np.int64, getattr(config, name))
    if config.clip_norm:
        constants = {"level": LEVEL, "silence": SILENCE, "flat_variance": FLAT_VARIANCE}
        arrays |= {
            f"clip_norm.{name}": _numbers(np.float64, value) for name, value in constants.items()
        }
    for name, weight in weights.items():
        if not name.startswith("next_sample."):  # for training only
            arrays[name.replace("stem.conv.", "stem.")] = weight.detach().float().cpu().numpy()
    return _packed(arrays)


def _numbers(dtype: type[np.generic], *values: float) -> NDArray[np.generic]:
    return np.array(values, dtype)


def _text(*texts: str) -> NDArray[np.generic]:
    return np.frombuffer(b"".join(text.encode() + b"\0" for text in texts), np.uint8)


def _packed(arrays: dict[str, NDArray[np.generic]]) -> bytes:
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
