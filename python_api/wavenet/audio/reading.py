"""Reading one recording: decoded, made mono, resampled by soxr."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wavenet.audio.opening import open_audio, soundfile
from wavenet.errors import AudioError, DataError, extra

SILENCE = 1e-4  # of full scale, -80 dB: below are dither and the noise of converters


def read_audio(path: str | os.PathLike[str], sample_rate: int, *, channel: int = 0) -> torch.Tensor:
    """Read a recording as mono at `sample_rate`.

    Args:
        path: a file that libsndfile decodes (WAV, FLAC, OGG, MP3, AIFF, Opus, ...), or an ffmpeg
            that is installed.
        sample_rate: in Hz, at least 1.
        channel: which one, counted from 1; 0: the mean of all.

    Returns:
        float32 (T,), T >= 1. Integer formats are scaled to [-1, 1); floating-point files keep
        their values.

    Raises:
        AudioError: the file is missing, can't be decoded, holds no samples, NaN or infinity, has
            no such channel, or channels that cancel each other.
        DataError: `sample_rate` is not positive, or `channel` is negative.
    """
    return torch.from_numpy(decode(Path(path), sample_rate, channel))


def decode(path: Path, sample_rate: int, channel: int = 0) -> NDArray[np.float32]:
    """`read_audio` as a NumPy array."""
    if sample_rate < 1:
        raise DataError(f"sample_rate is {sample_rate}; at least 1 Hz is accepted")
    require_channel(channel)
    with open_audio(path) as recording:
        try:
            blocks, loudest = [], 0.0
            for block in recording.blocks():
                blocks.append(to_mono(path, block, channel))
                loudest = max(loudest, float(np.abs(block).max()))
            mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        except MemoryError:
            raise AudioError(f"{path}: there is not enough memory to decode it") from None
        rate, channels = recording.rate, recording.channels
    if not len(mono):
        raise AudioError(f"{path}: holds no samples", "empty")
    if loudest >= SILENCE > np.abs(mono).max() and channel == 0 and channels > 1:
        raise AudioError(
            f"{path}: its {channels} channels cancel each other; their mean is silent, so choose "
            "one of them (channel)",
            "silent",
        )
    if rate != sample_rate:
        frames = len(mono)
        mono = soxr().resample(mono, rate, sample_rate, quality="HQ")
        if not len(mono):
            raise AudioError(
                f"{path}: its {frames} samples at {rate} Hz are less than one at {sample_rate} Hz",
                "empty",
            )
    return np.ascontiguousarray(mono, dtype=np.float32)


def to_mono(path: Path, block: NDArray[np.float32], channel: int) -> NDArray[np.float32]:
    """A channel of (n, channels), counted from 1, or the mean of them, of finite samples.

    Raises:
        AudioError: there is no such channel, or NaN or infinity.
    """
    if channel > block.shape[1]:
        raise AudioError(f"{path}: has {block.shape[1]} channel(s); channel {channel} is asked for")
    mono = block[:, channel - 1] if channel else block.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; only finite ones are read")
    return mono


def require_sound(
    what: str | Path, samples: NDArray[np.float32], threshold: float = SILENCE
) -> None:
    """Raise AudioError where the peak above the mean stays below `threshold` of full scale."""
    mean = float(samples.mean(dtype=np.float64))
    peak = max(float(samples.max()) - mean, mean - float(samples.min()))
    if peak < threshold:
        level = f"{20 * np.log10(peak):.0f} dBFS" if peak > 0 else "zero"
        raise AudioError(f"{what}: is silent (peak {level})", "silent")


def require_channel(channel: int) -> None:
    """Raise DataError for what is no number of a channel."""
    if channel < 0:
        raise DataError(f"channel is {channel}; accepted are 0 (the mean of all), 1, 2, ...")


def soxr() -> Any:
    """The resampler's binding, loaded when it is first asked for."""
    with extra("classifier"):
        import soxr
    return soxr


def wav_of(samples: NDArray[np.float32], sample_rate: int, subtype: str) -> bytes:
    """Mono samples as the content of a WAV file, "FLOAT" or "PCM_16"."""
    content = io.BytesIO()
    soundfile().write(content, samples, sample_rate, format="WAV", subtype=subtype)
    return content.getvalue()
