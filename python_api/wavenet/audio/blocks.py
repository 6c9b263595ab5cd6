"""Long recordings and endless signals, block by block: memory does not grow with their length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from wavenet.audio.opening import HEADER_RATES, open_audio
from wavenet.audio.reading import require_channel, soxr, to_mono
from wavenet.errors import AudioError, DataError, require_seconds

PCM_FORMATS = {"s16": "<i2", "s32": "<i4", "f32": "<f4"}


def audio_blocks(
    path: str | os.PathLike[str],
    sample_rate: int,
    block_seconds: float = 1.0,
    *,
    channel: int = 0,
) -> Iterator[torch.Tensor]:
    """A recording as mono at `sample_rate`, decoded and resampled as it is asked for.

    Args:
        path: as `read_audio`'s.
        sample_rate: in Hz, at least 1.
        block_seconds: how much of the file is read at a time.
        channel: which one, counted from 1; 0: the mean of all.

    Yields:
        float32 (n,), n >= 1; together they are what `read_audio` gives, to rounding.

    Raises:
        AudioError: as `read_audio`, but for what is wrong late in a file, late.
        DataError: `sample_rate`, `block_seconds` or `channel` is out of range.
    """
    _require_positive(sample_rate=sample_rate)
    require_seconds(block_seconds=block_seconds)
    require_channel(channel)
    path = Path(path)
    with open_audio(path) as recording:
        size = max(1, round(block_seconds * recording.rate))
        blocks = (to_mono(path, block, channel) for block in recording.blocks(size))
        heard = False
        for block in _resampled(blocks, recording.rate, sample_rate):
            heard = True
            yield block
        if not heard:
            raise AudioError(f"{path}: holds no samples", "empty")


def pcm_blocks(
    file: BinaryIO,
    sample_rate: int,
    *,
    pcm_format: str = "s16",
    rate: int | None = None,
    channels: int = 1,
    channel: int = 0,
    block_seconds: float = 0.1,
) -> Iterator[torch.Tensor]:
    """Raw PCM from a pipe or a file as mono at `sample_rate`, as it comes.

    Args:
        file: binary, read to its end. Bytes beyond the last whole sample are passed over.
        sample_rate: of what is handed out, in Hz.
        pcm_format: "s16", "s32" (scaled to [-1, 1)) or "f32", little-endian.
        rate: of the samples that come, in Hz; None: `sample_rate`.
        channels: interleaved.
        channel: which one, counted from 1; 0: the mean of all.
        block_seconds: how much is waited for before a block is handed out.

    Yields:
        float32 (n,), n >= 1.

    Raises:
        AudioError: NaN or infinite samples.
        DataError: an argument is out of range.
    """
    rate = sample_rate if rate is None else rate
    _require_positive(sample_rate=sample_rate, channels=channels)
    require_seconds(block_seconds=block_seconds)
    require_channel(channel)
    if channel > channels:
        raise DataError(f"channel is {channel}; accepted is up to {channels}, its channels")
    if pcm_format not in PCM_FORMATS:
        raise DataError(f"format is {pcm_format!r}; accepted are {', '.join(PCM_FORMATS)}")
    if not HEADER_RATES[0] <= rate <= HEADER_RATES[1]:
        low, high = HEADER_RATES
        raise DataError(f"rate is {rate}; {low} to {high} Hz are accepted")
    dtype = np.dtype(PCM_FORMATS[pcm_format])
    frame = dtype.itemsize * channels
    size = frame * max(1, round(block_seconds * rate))

    def blocks() -> Iterator[NDArray[np.float32]]:
        while data := file.read(size):
            whole = len(data) // frame * frame
            samples = np.frombuffer(data[:whole], dtype).reshape(-1, channels)
            scale = 1.0 if dtype.kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
            heard = samples[:, channel - 1 : channel] if channel else samples
            mono = (heard.astype(np.float64) / scale).mean(1).astype(np.float32)
            if not np.isfinite(mono).all():
                raise AudioError(
                    "the PCM: holds NaN or infinite samples; only finite ones are read"
                )
            yield mono

    yield from _resampled(blocks(), rate, sample_rate)


def _resampled(
    blocks: Iterable[NDArray[np.float32]], rate: int, sample_rate: int
) -> Iterator[torch.Tensor]:
    if rate == sample_rate:
        yield from (torch.from_numpy(block) for block in blocks if len(block))
        return
    resampler = soxr().ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        if len(resampled := resampler.resample_chunk(block)):
            yield torch.from_numpy(resampled)
    rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(rest):
        yield torch.from_numpy(rest)


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise DataError(f"{name} is {value}; accepted is more than 0")
