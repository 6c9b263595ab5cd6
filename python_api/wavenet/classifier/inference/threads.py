"""Threads that pay: how many are faster for pieces of one size, found out while they are computed.

More threads are slower where pieces are small, and much slower where other programs have the cores:
each of a network's layers then waits for the thread that was put aside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

# Pieces that are computed with each number of threads before one is chosen.
TRIALS = 3
# All threads have to be so much faster than one, or they are left to others.
GAIN = 1.1

T = TypeVar("T")


class PayingThreads:
    """Computes pieces with one thread and with `most` in turn, then with what was faster."""

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most = most
        self.clock = clock
        self.chosen: int | None = 1 if most == 1 else None
        self._fastest = {1: float("inf"), most: float("inf")}
        self._pieces = 0

    def compute(self, work: Callable[[], T], size: int) -> T:
        """The result of `work`, a piece of so many samples."""
        if self.chosen is not None:
            torch.set_num_threads(self.chosen)
            return work()
        threads = self.most if self._pieces % 2 else 1
        torch.set_num_threads(threads)
        started = self.clock()
        result = work()
        self._remember(threads, (self.clock() - started) / max(1, size))
        return result

    def _remember(self, threads: int, seconds: float) -> None:
        if self._pieces >= 2:  # the first of each fill caches and start threads
            self._fastest[threads] = min(self._fastest[threads], seconds)
        self._pieces += 1
        if self._pieces == 2 * (TRIALS + 1):
            pay = GAIN * self._fastest[self.most] < self._fastest[1]
            self.chosen = self.most if pay else 1


@contextmanager
def paying_threads(device: torch.device) -> Iterator[PayingThreads]:
    """Up to as many as there are on a CPU; afterwards all is as it was."""
    before = torch.get_num_threads()
    try:
        yield PayingThreads(before if device.type == "cpu" else 1)
    finally:
        torch.set_num_threads(before)
