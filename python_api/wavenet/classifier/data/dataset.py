"""Clips as training items, and items as padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.clips import Clip
from wavenet.classifier.data.events import frame_targets
from wavenet.classifier.data.seeding import generator
from wavenet.errors import DataError


class Batch(NamedTuple):
    """Clips of unequal lengths side by side.

    Attributes:
        waveform: float32 (B, T), zeros after each clip's end.
        lengths: int64 (B,), samples of each clip; the longest is T.
        labels: int64 (B,), class indices; of tags, see `ClipDataset.tags`.
        targets: float32 (B, classes), the share of each class where clips are mixed, of which
            `labels` then has the largest, or which tags each clip has, or each frame of it,
            (B, frames, classes); None: all of it is that of `labels`.
    """

    waveform: Tensor
    lengths: Tensor
    labels: Tensor
    targets: Tensor | None = None


class Draw(NamedTuple):
    """One visit of a clip: the random choices of an item depend on this (and the seed) alone.

    `repeat` counts the visits of the same clip within one epoch, so that a clip drawn twice is
    cropped and augmented in two ways.
    """

    clip: int
    epoch: int
    repeat: int = 0


class ClipDataset(Dataset[tuple[Tensor, int]]):
    """Clips with their class indices; items are (waveform float32 (T,), label index).

    Clips with several labels each have `tags`, float32 (sets, classes): their distinct sets of
    labels, and a clip's index is that of its set; else `tags` is None.

    An item is asked for by a `Draw` (what `EpochBatchSampler` gives) or by a plain index, which
    means its first visit in epoch 0. The crop comes from a generator seeded with
    (seed, epoch, clip, repeat), so it depends on neither the number of workers nor the order of the
    batches.

    Args:
        clips: what to serve.
        labels: the model's labels; a label's position is its class index.
        cache: reads the clips, at the model's sample rate.
        training: crop at random instead of at the centre.
        max_samples: longest item in samples; longer clips are cropped to it. None: never crop.
        seed: another seed gives other crops.

    Raises:
        DataError: no clips, a clip's label isn't in `labels`, or `max_samples` is below 1.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: Sequence[str],
        cache: AudioCache,
        *,
        training: bool = False,
        max_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        if not clips:
            raise DataError("clips is empty; at least one clip is needed")
        if max_samples is not None and max_samples < 1:
            raise DataError(f"max_samples is {max_samples}; at least 1 or None is accepted")
        index_of = {label: index for index, label in enumerate(labels)}
        for clip in clips:
            for label in clip.labels:
                if label not in index_of:
                    raise DataError(
                        f"{clip.path}: its label {label!r} is not one of the model's "
                        f"{len(index_of)} labels"
                    )
        self.clips = list(clips)
        self.labels = tuple(labels)
        self.tags: Tensor | None = None
        if any(clip.tags is not None for clip in clips):
            sets = {frozenset(clip.labels): None for clip in clips}
            row_of = {labels: row for row, labels in enumerate(sets)}
            self.targets = [row_of[frozenset(clip.labels)] for clip in clips]
            self.tags = torch.zeros(len(sets), len(index_of))
            for row, named in enumerate(sets):
                self.tags[row, [index_of[label] for label in named]] = 1
        else:
            self.targets = [index_of[clip.label] for clip in clips]
        self.cache = cache
        self.training = training
        self.max_samples = max_samples
        self.seed = seed

    def lengths(self) -> list[int]:
        """Samples of each item, for batches of similar length; reads clips that aren't cached."""
        longest = self.max_samples
        totals = (self.cache.length_of(clip) for clip in self.clips)
        return [total if longest is None else min(total, longest) for total in totals]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int | Draw) -> tuple[Tensor, int]:
        """One item.

        Raises:
            AudioError: the recording can't be read any more.
            IndexError: there is no such clip.
        """
        draw = index if isinstance(index, Draw) else Draw(index, 0)
        samples = self._crop(self.cache.open_clip(self.clips[draw.clip]), draw)
        return torch.from_numpy(np.array(samples)), self.targets[draw.clip]

    def frames_of(self, index: int | Draw, frame_samples: int) -> Tensor:
        """(frames, classes): what is heard in each frame of the item, of clips with events."""
        draw = index if isinstance(index, Draw) else Draw(index, 0)
        clip, rate = self.clips[draw.clip], self.cache.sample_rate
        total = self.cache.length_of(clip)
        start = self._start(total, draw)
        length = total - start if self.max_samples is None else min(total, self.max_samples)
        frames = -(-length // frame_samples)
        first = clip.start + start / rate
        return frame_targets(clip.events or (), self.labels, first, frames, frame_samples / rate)

    def _crop(self, samples: NDArray[np.float32], draw: Draw) -> NDArray[np.float32]:
        if self.max_samples is None:
            return samples
        start = self._start(samples.size, draw)
        return samples[start : start + self.max_samples]

    def _start(self, total: int, draw: Draw) -> int:
        """Where of so many samples the item begins."""
        if self.max_samples is None or total <= self.max_samples:
            return 0
        spare = total - self.max_samples
        if not self.training:
            return spare // 2
        random = generator(self.seed, "item", draw.epoch, draw.clip, draw.repeat)
        return int(torch.randint(spare + 1, (), generator=random))


def collate(items: Sequence[tuple[Tensor, int]]) -> Batch:
    """Pad items at their ends to the longest of them.

    Args:
        items: (waveform float32 (T,), class index) pairs; of none, the batch has shape (0, 1).
    """
    lengths = [waveform.shape[0] for waveform, _ in items]
    padded = np.zeros((len(items), max(lengths, default=1)), np.float32)
    for row, length, (samples, _) in zip(padded, lengths, items, strict=True):
        row[:length] = samples
    labels = [label for _, label in items]
    return Batch(
        torch.from_numpy(padded),
        torch.tensor(lengths, dtype=torch.int64),
        torch.tensor(labels, dtype=torch.int64),
    )
