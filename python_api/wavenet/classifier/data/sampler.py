"""In which order clips are visited: shuffled, class-balanced, in batches of similar length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from wavenet.classifier.data.dataset import Draw
from wavenet.classifier.data.seeding import generator
from wavenet.errors import DataError


class EpochBatchSampler(Sampler[list[Draw]]):
    """Batches of draws that depend on (seed, epoch) alone; for `DataLoader(batch_sampler=...)`.

    Every batch is full but the last. `set_epoch` chooses the epoch before each iteration; an
    epoch can be repeated or entered at will, which is what resuming needs.

    Args:
        targets: class index of each clip (`ClipDataset.targets`).
        batch_size: clips a batch.
        seed: another seed gives another order.
        balanced: draw every class equally often. An epoch has as many draws as there are clips;
            within a class the draws go round its clips in shuffled order, so a rare class's clips
            come several times and a frequent class's clips take turns over the epochs.
        lengths: samples of each clip (`ClipDataset.lengths()`); given, batches hold clips of
            similar length, which saves padding. The order stays random: clips are shuffled, sorted
            within chunks of `bucket_batches` batches, and the batches shuffled again.
        bucket_batches: batches a chunk; only of use with `lengths`.

    Raises:
        DataError: no targets, a size below 1, or `lengths` of another length than `targets`.
    """

    def __init__(
        self,
        targets: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        balanced: bool = False,
        lengths: Sequence[int] | None = None,
        bucket_batches: int = 50,
    ) -> None:
        if not targets:
            raise DataError("targets is empty; at least one clip is needed")
        for name, value in (("batch_size", batch_size), ("bucket_batches", bucket_batches)):
            if value < 1:
                raise DataError(f"{name} is {value}; at least 1 is accepted")
        if lengths is not None and len(lengths) != len(targets):
            raise DataError(f"lengths has {len(lengths)} entries, targets has {len(targets)}")
        self.targets = list(targets)
        self.batch_size = batch_size
        self.seed = seed
        self.balanced = balanced
        self.lengths = None if lengths is None else list(lengths)
        self.bucket_batches = bucket_batches
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration gives."""
        self.epoch = epoch

    def size(self, index: int) -> int:
        """Draws of the epoch's batch at `index`."""
        return min(self.batch_size, len(self.targets) - index * self.batch_size)

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        random = generator(self.seed, "order", self.epoch)
        indices = self._balanced(random) if self.balanced else _shuffled(self.targets, random)
        visits: dict[int, int] = defaultdict(int)
        draws = []
        for index in indices:
            draws.append(Draw(index, self.epoch, visits[index]))
            visits[index] += 1
        whole = len(draws) // self.batch_size * self.batch_size
        # The clips of the short batch are chosen before sorting, else it would be all long clips.
        rest = draws[whole:]
        yield from self._batches(draws[:whole], random)
        if rest:
            yield rest

    def _batches(self, draws: list[Draw], random: torch.Generator) -> list[list[Draw]]:
        lengths = self.lengths
        size = self.batch_size
        if lengths is None:
            return [draws[start : start + size] for start in range(0, len(draws), size)]
        batches = []
        chunk = size * self.bucket_batches
        for first in range(0, len(draws), chunk):
            part = sorted(draws[first : first + chunk], key=lambda draw: lengths[draw.clip])
            batches += [part[start : start + size] for start in range(0, len(part), size)]
        return [batches[index] for index in _shuffled(batches, random)]

    def _balanced(self, random: torch.Generator) -> list[int]:
        members: dict[int, list[int]] = defaultdict(list)
        for index, target in enumerate(self.targets):
            members[target].append(index)
        total, classes = len(self.targets), sorted(members)
        share, spare = divmod(total, len(classes))
        # Which classes get one draw more, when the draws don't divide evenly, changes by epoch.
        lucky = set(_shuffled(classes, random)[:spare])
        drawn: list[int] = []
        for position, target in enumerate(classes):
            wanted = share + (position in lucky)
            clips = members[target]
            while wanted > 0:
                order = _shuffled(clips, random)[:wanted]
                drawn += [clips[index] for index in order]
                wanted -= len(order)
        return [drawn[index] for index in _shuffled(drawn, random)]


def _shuffled(items: Sequence[object], random: torch.Generator) -> list[int]:
    """The indices of `items` in random order."""
    order: list[int] = torch.randperm(len(items), generator=random).tolist()
    return order
