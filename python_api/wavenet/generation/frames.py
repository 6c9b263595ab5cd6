"""Conditioning frame by frame, for generation: the same numbers whatever the chunks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet.errors import DataError, require_tensor
from wavenet.generation.conditioning import Conditioning


class ConditioningFrames:
    """The stack's `cond` of the samples of one frame after another: (B, L 2D, hop) each.

    Frames are pushed with their context; a frame's conditioning is there when the frames that its
    samples depend on are. Every frame of every signal is computed by itself, in operations of one
    size, so that the result depends neither on the chunks nor on the batch.

    Args:
        conditioning: of the model, in the dtype that is wanted.
        speaker: what `Conditioning.prepare_speaker` made.
    """

    def __init__(self, conditioning: Conditioning, speaker: Tensor | None) -> None:
        self.conditioning, config = conditioning, conditioning.config
        assert conditioning.local is not None and conditioning.upsample is not None
        self.hop = config.hop
        self._taps = 2 * config.context_frames + 1 if config.upsample_convolution else 1
        # Without a convolution over it, context is upsampled, too, and its samples are cut.
        self._cut = 0 if config.upsample_convolution else config.context_frames
        self._before, self._after = conditioning.upsample.halo
        self._early = config.conditioned_before_upsampling
        self._everywhere = None if speaker is None else conditioning.each_speaker_of(speaker)
        self._matrices: dict[tuple[int, int], Tensor] = {}
        self._raw: list[Tensor] = []  # (B, M), the last frames that came
        self._ready: list[Tensor] = []  # (B, M or L 2D), from frame `_dropped` on
        self._dropped = 0
        self._next = self._cut
        self._ended = False

    @torch.no_grad()
    def push(self, frames: Tensor, last: bool = False) -> Iterator[Tensor]:
        """More frames (B, M, n) -> the conditioning of frames that can be made now."""
        for frame in frames.unbind(2):
            self._raw = [*self._raw, frame][-self._taps :]
            if len(self._raw) == self._taps:
                self._ready.append(self._prepared(torch.stack(self._raw, dim=2)))
        self._ended = last
        while self._next + (self._cut if last else max(self._after, self._cut)) < self._known:
            yield self._samples(self._next)
            self._next += 1
            stale = self._next - self._before - self._dropped
            if stale > 0:
                del self._ready[:stale]
                self._dropped += stale

    @property
    def _known(self) -> int:
        return self._dropped + len(self._ready)

    def _prepared(self, window: Tensor) -> Tensor:
        """A window of frames (B, M, taps) -> (B, M), or (B, L 2D) where the 1x1s go first."""
        frames, local = self.conditioning.frames, self.conditioning.local
        assert local is not None
        rows = []
        for one in _each(window):
            row = one[:, 0] if frames is None else frames.weight.flatten(1) @ one.flatten()
            rows.append(local.weight[:, :, 0] @ row if self._early else row)
        return torch.stack(rows)

    def _samples(self, frame: int) -> Tensor:
        """Of the frames around it, without those beyond the signal's ends."""
        before = min(self._before, frame)
        after = min(self._after, self._known - 1 - frame) if self._ended else self._after
        at = frame - self._dropped
        around = torch.stack(self._ready[at - before : at + after + 1], dim=2)
        if self._early:
            matrix = self._matrix(before, after).to(around)
            rows = torch.stack([matrix.T @ one.T for one in _each(around)])
        else:
            rows = self._upsampled(around, before)
        local = rows.transpose(1, 2)  # channels side by side, as the loop reads them
        return local if self._everywhere is None else local + self._everywhere

    def _upsampled(self, around: Tensor, before: int) -> Tensor:
        upsample, to_gates = self.conditioning.upsample, self.conditioning.local
        assert upsample is not None and to_gates is not None
        begin = before * self.hop
        made = [
            upsample(one[None])[0, :, begin : begin + self.hop].T @ to_gates.weight[:, :, 0].T
            for one in _each(around)
        ]
        return torch.stack(made)

    def _matrix(self, before: int, after: int) -> Tensor:
        """Upsampling is linear: what each frame around one adds to its samples, (frames, hop)."""
        key = (before, after)
        if key not in self._matrices:
            upsample = self.conditioning.upsample
            assert upsample is not None
            frames = before + 1 + after
            weights = self.conditioning.local
            assert weights is not None
            unit = torch.eye(frames).to(weights.weight)
            begin = before * self.hop
            self._matrices[key] = upsample(unit[None])[0, :, begin : begin + self.hop]
        return self._matrices[key]


def _each(batch: Tensor) -> Iterator[Tensor]:
    """Signal by signal, where memory begins alike: sums of a product depend on its alignment."""
    return (one.clone() for one in batch)


def check_chunk(chunk: Tensor) -> None:
    """Raise DataError for what is no frames (B, M, n)."""
    require_tensor("a chunk of mel_chunks", chunk, "(B, M, n)")
    if chunk.dim() != 3:
        raise DataError(
            f"a chunk of mel_chunks has shape {tuple(chunk.shape)}; accepted is (B, M, n)"
        )


def with_context(chunks: Iterator[Tensor], context: int) -> Iterator[tuple[Tensor, bool]]:
    """Chunks of frames (B, M, n) -> the same and whether one is the last.

    The first and last frame are repeated as context.
    """
    held: Tensor | None = None
    for chunk in chunks:
        check_chunk(chunk)
        if chunk.shape[2] == 0:
            continue
        if held is None:
            held = F.pad(chunk, (context, 0), mode="replicate") if context else chunk
        else:
            yield held, False
            held = chunk
    if held is not None:
        yield (F.pad(held, (0, context), mode="replicate") if context else held), True
