"""Reading one recording: decoded by libsndfile, mixed to mono, resampled by soxr."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wavenet.errors import AudioError, DataError, extra

# Rates outside are damaged headers; resampling from 1 Hz would ask for gigabytes.
HEADER_RATES = (100, 10_000_000)
# What libsndfile's binding raises.
UNDECODABLE = (OSError, RuntimeError, TypeError, ValueError)


def read_audio(path: str | os.PathLike[str], sample_rate: int) -> torch.Tensor:
    """Read a recording as mono at `sample_rate`.

    Args:
        path: a file that libsndfile decodes (WAV, FLAC, OGG, MP3, AIFF, Opus, ...).
        sample_rate: in Hz, at least 1.

    Returns:
        float32 (T,), T >= 1. Integer formats are scaled to [-1, 1); floating-point files keep
        their values; channels are averaged.

    Raises:
        AudioError: the file is missing, can't be decoded, holds no samples, or holds NaN or
            infinity.
        DataError: `sample_rate` is not positive.
    """
    return torch.from_numpy(decode(Path(path), sample_rate))


def decode(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """`read_audio` as a NumPy array."""
    if sample_rate < 1:
        raise DataError(f"sample_rate is {sample_rate}; at least 1 Hz is accepted")
    samples, rate = _read(path)
    require_rate(path, rate)
    if not len(samples):
        raise AudioError(f"{path}: holds no samples", "empty")
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; only finite ones are read")
    if rate != sample_rate:
        mono = soxr().resample(mono, rate, sample_rate, quality="HQ")
        if not len(mono):
            raise AudioError(
                f"{path}: its {len(samples)} samples at {rate} Hz are less than one at "
                f"{sample_rate} Hz",
                "empty",
            )
    return np.ascontiguousarray(mono, dtype=np.float32)


def soundfile() -> Any:
    """libsndfile's binding, loaded when it is first asked for."""
    with extra("classifier"):
        import soundfile
    return soundfile


def soxr() -> Any:
    """The resampler's binding, loaded when it is first asked for."""
    with extra("classifier"):
        import soxr
    return soxr


def _read(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples (frames, channels) and the file's rate."""
    require_file(path)
    try:
        samples, rate = soundfile().read(path, dtype="float32", always_2d=True)
    except UNDECODABLE as error:
        raise undecodable(path, error) from error
    return samples, rate


def wav_of(samples: NDArray[np.float32], sample_rate: int, subtype: str) -> bytes:
    """Mono samples as the content of a WAV file, "FLOAT" or "PCM_16"."""
    content = io.BytesIO()
    soundfile().write(content, samples, sample_rate, format="WAV", subtype=subtype)
    return content.getvalue()


def require_file(path: Path) -> None:
    """Raise AudioError for what is no file, or one of no bytes."""
    if not path.is_file():
        came = "is a folder" if path.is_dir() else "no such file"
        raise AudioError(f"{path}: {came}; an audio file is expected", "missing")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes)", "empty")


def require_rate(path: Path, rate: int) -> None:
    """Raise AudioError for a rate that no recording has."""
    if not HEADER_RATES[0] <= rate <= HEADER_RATES[1]:
        raise AudioError(
            f"{path}: its header says {rate} Hz; {HEADER_RATES[0]} to {HEADER_RATES[1]} Hz are read"
        )


def undecodable(path: Path, error: Exception) -> AudioError:
    """What libsndfile says of a file, as our error."""
    # libsndfile's own errors repeat the path and end in a full stop.
    reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return AudioError(f"{path}: can't be decoded as audio ({reason})")
