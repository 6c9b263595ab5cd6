"""The batches of an epoch, and this process's share of each.

A batch is what one optimizer step learns from. It is cut into parts (gradient accumulation) and
every part is dealt to the processes, so that the same batches are learned from in the same order
whatever the number of processes and parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from accelerate import Accelerator
from torch.utils.data import DataLoader, Sampler

from wavenet.classifier.data import (
    Augmenter,
    Augmenting,
    Batch,
    ClipDataset,
    Draw,
    EpochBatchSampler,
    PreparedData,
    TrainingClips,
    collate_draws,
)
from wavenet.classifier.run_config import RunConfig


class Shares(Sampler[list[Draw]]):
    """One process's draws of each part of each batch, in order; some may be empty.

    Args:
        batches: of all processes.
        parts: of a batch.
        processes: how many there are.
        process: which one this is, from 0.
    """

    def __init__(
        self, batches: EpochBatchSampler, parts: int, processes: int, process: int
    ) -> None:
        self.batches = batches
        self.parts = parts
        self.processes = processes
        self.process = process
        self.done = 0

    def set_position(self, epoch: int, done: int) -> None:
        """Which epoch the next iteration gives, without its first `done` batches."""
        self.batches.set_epoch(epoch)
        self.done = done

    def __iter__(self) -> Iterator[list[Draw]]:
        for draws in islice(iter(self.batches), self.done, None):
            for part in range(self.parts):
                first = part * len(draws) // self.parts
                last = (part + 1) * len(draws) // self.parts
                yield draws[first:last][self.process :: self.processes]


class TrainingBatches:
    """The batches of a run, on this process's device.

    Args:
        config: of the run.
        data: what is trained on.
        accelerator: this process among the others.
    """

    def __init__(self, config: RunConfig, data: PreparedData, accelerator: Accelerator) -> None:
        settings = config.training
        self.parts = settings.accumulation
        clips = ClipDataset(
            data.splits.train,
            data.labels,
            data.cache,
            training=True,
            max_samples=config.data.max_samples(data.cache.sample_rate),
            seed=settings.seed,
        )
        self.sampler = EpochBatchSampler(
            clips.targets,
            settings.batch_size,
            seed=settings.seed,
            balanced=settings.balanced,
            lengths=clips.lengths(),
        )
        self.augmenting = Augmenting(
            Augmenter(config.augmentation, data.cache), len(data.labels), accelerator.device
        )
        self.shares = Shares(
            self.sampler, self.parts, accelerator.num_processes, accelerator.process_index
        )
        self.loader = DataLoader(
            TrainingClips(clips, config.augmentation),
            batch_sampler=self.shares,
            collate_fn=collate_draws,
            num_workers=config.data.workers,
            pin_memory=accelerator.device.type == "cuda",
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    @property
    def clips(self) -> int:
        """At most as many of a step's part are this process's."""
        dealt = self.parts * self.shares.processes
        return math.ceil(self.sampler.batch_size / dealt)

    @property
    def samples(self) -> int:
        """Of the longest clip."""
        return max(self.sampler.lengths or [1])

    def epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[int, Iterator[Batch]]]:
        """The batches of an epoch after the first `done`, which are skipped without being loaded.

        Yields:
            How many clips the batch has in all processes, and this process's share of each part;
            the parts are to be used up before the next batch is asked for.
        """
        self.shares.set_position(epoch, done)
        shares = iter(self.loader)
        for index in range(done, len(self)):
            yield self.sampler.size(index), map(self.augmenting, islice(shares, self.parts))
