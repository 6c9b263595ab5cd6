"""The batches of an epoch, and this process's share of each.

A batch is what one optimizer step learns from. It is cut into parts (gradient accumulation), more
of them where clips are long, and every part is dealt to the processes, so that the same batches are
learned from in the same order whatever the number of processes and parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader, Sampler

from wavenet.classifier.data import Draw, EpochBatchSampler, PreparedData
from wavenet.classifier.memory import samples_within
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.training.learner import choose_precision
from wavenet.classifier.training.tasks import Task, task_of


class Shares(Sampler[list[Draw]]):
    """One process's draws of each part of each batch, in order; some may be empty.

    Args:
        batches: of all processes.
        parts: of a batch, at least.
        processes: how many there are.
        process: which one this is, from 0.
        lengths: samples that each clip may have when it is computed on.
        room: samples of a process's share of a part, padding included: a part that would have more
            is cut again, but for one clip a process. None: as many as there are.
    """

    def __init__(
        self,
        batches: EpochBatchSampler,
        parts: int,
        processes: int,
        process: int,
        lengths: Sequence[int] = (),
        room: int | None = None,
    ) -> None:
        self.batches = batches
        self.parts = parts
        self.processes = processes
        self.process = process
        self.lengths = lengths
        self.room = room
        self.set_position(0, 0)

    def set_position(self, epoch: int, done: int) -> None:
        """Which epoch the next iteration gives, without its first `done` batches."""
        self.batches.set_epoch(epoch)
        self.done = done

    def cut_batches(self) -> Iterator[list[list[Draw]]]:
        """The parts of each batch that is left, of all processes."""
        for draws in islice(iter(self.batches), self.done, None):
            cuts = [part * len(draws) // self.parts for part in range(self.parts + 1)]
            yield [
                part
                for first, last in pairwise(cuts)
                for part in self._within_room(draws[first:last])
            ]

    def __iter__(self) -> Iterator[list[Draw]]:
        for parts in self.cut_batches():
            for part in parts:
                yield part[self.process :: self.processes]

    def _within_room(self, draws: list[Draw]) -> Iterator[list[Draw]]:
        if self.room is None or not self.lengths:
            yield draws
            return
        start = longest = 0
        for index, draw in enumerate(draws):
            length = self.lengths[draw.clip]
            longest = max(longest, length)
            share = math.ceil((index + 1 - start) / self.processes)
            if share > 1 and share * longest > self.room:
                yield draws[start:index]
                start, longest = index, length
        yield draws[start:]


class TrainingBatches:
    """The batches of a run, on this process's device.

    Args:
        config: of the run.
        data: what is trained on.
        accelerator: this process among the others.
        task: of the configuration; None: made here.
    """

    def __init__(
        self,
        config: RunConfig,
        data: PreparedData,
        accelerator: Accelerator,
        task: Task | None = None,
    ) -> None:
        settings = config.training
        precision = choose_precision(settings.mixed_precision, accelerator.device)
        source = (task or task_of(config)).source(data, accelerator.device)
        self.sampler = EpochBatchSampler(
            source.targets,
            settings.batch_size,
            seed=settings.seed,
            balanced=settings.balanced,
            lengths=source.lengths,
        )
        self.sample_rate = data.cache.sample_rate
        self.bytes_of = lambda samples: source.bytes_of(samples, 4 if precision == "no" else 2)
        room = None
        if settings.memory_gb:
            room = samples_within(settings.memory_gb, self.bytes_of)
        self.finish = source.finish
        self.shares = Shares(
            self.sampler,
            settings.accumulation,
            accelerator.num_processes,
            accelerator.process_index,
            source.changed,
            room,
        )
        self.loader = DataLoader(
            source.clips,
            batch_sampler=self.shares,
            collate_fn=source.collate,
            num_workers=config.data.workers,
            pin_memory=accelerator.device.type == "cuda",
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    @property
    def clips(self) -> int:
        """At most as many of a step's part are this process's, where they are the longest."""
        dealt = self.shares.parts * self.shares.processes
        clips = math.ceil(self.sampler.batch_size / dealt)
        room = self.shares.room
        return clips if room is None else max(1, min(clips, room // self.samples))

    @property
    def samples(self) -> int:
        """Of the longest clip."""
        return max(self.shares.lengths)

    @property
    def seconds(self) -> float:
        """The same of audio."""
        return self.samples / self.sample_rate

    @property
    def memory(self) -> int:
        """Bytes that a part of a step takes at most, beside the model and its moments."""
        return self.bytes_of(self.clips * self.samples)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[int, Iterator[Any]]]:
        """The batches of an epoch after the first `done`, which are skipped without being loaded.

        Yields:
            How many clips the batch has in all processes, and this process's share of each part;
            the parts are to be used up before the next batch is asked for.
        """
        self.shares.set_position(epoch, done)
        counts = [len(parts) for parts in self.shares.cut_batches()]
        shares = iter(self.loader)
        for index, count in enumerate(counts, start=done):
            yield self.sampler.size(index), map(self.finish, islice(shares, count))
