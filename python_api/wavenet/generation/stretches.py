"""Stretches of frames with what they depend on at either side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from wavenet.errors import DataError
from wavenet.generation.frames import check_chunk

if TYPE_CHECKING:
    from wavenet.generation.waveglow import WaveGlow


class Stretch(NamedTuple):
    """Frames `first` to `last` of the whole, of which `begin` to `end` are to be sound."""

    mel: Tensor  # (B, M, last - first)
    first: int
    last: int
    begin: int
    end: int


def stretches(model: WaveGlow, chunks: Iterable[Tensor], frames: int) -> Iterator[Stretch]:
    """Of the frames as they come: all of them, each once, at least `frames` at a time."""
    config = model.config
    assert config.upsample_kernel_size is not None
    # Between frames whitening needs the next one, too.
    ahead = max(int(config.whiten > 0), -(-config.reach * config.group // config.hop))
    behind = ahead + -(-config.upsample_kernel_size // config.hop) - 1
    # Kernels compute neighbours at a dilation's distance together; where pairs begin at the same
    # steps as in the whole, they come out in the same bits.
    period = -(-4 * max(config.dilations) * config.group // config.hop)
    kept: Tensor | None = None
    first = begin = 0

    def stretch(end: int) -> Stretch:
        assert kept is not None
        start = max(0, begin - behind) // period * period
        last = min(first + kept.shape[2], end + ahead)
        return Stretch(kept[:, :, start - first : last - first], start, last, begin, end)

    for chunk in chunks:
        check_chunk(chunk)
        if kept is not None and chunk.shape[:2] != kept.shape[:2]:
            came, accepted = (f"({x.shape[0]}, {x.shape[1]}, n)" for x in (chunk, kept))
            raise DataError(f"a chunk of mel_chunks has shape {came}; accepted is {accepted}")
        kept = chunk if kept is None else torch.cat((kept, chunk), dim=2)
        ready = first + kept.shape[2] - ahead
        if ready - begin >= frames:
            yield stretch(ready)
            begin = ready
            start = max(0, begin - behind) // period * period
            kept, first = kept[:, :, start - first :].clone(), start
    if kept is not None and first + kept.shape[2] > begin:
        yield stretch(first + kept.shape[2])
