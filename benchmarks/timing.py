"""Timing: everything that is measured runs once a round, in a new order each round."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from unittest import mock

import torch

Key = TypeVar("Key", bound=Hashable)


# Beyond these a row is said to have been measured on a busy machine: the ratio of its slow to its
# fast rounds, and programs that wanted a CPU beside ours.
WIDE = 1.5
OTHERS = 0.5


class Seconds(float):
    """A wall time that knows the processor time of all threads meanwhile."""

    processor: float

    def __new__(cls, wall: float, processor: float) -> Seconds:
        made = super().__new__(cls, wall)
        made.processor = processor
        return made


@dataclass(frozen=True)
class Run:
    """What is timed: `calls` calls in a row of `run`, each given what `prepare` returned before.

    `variables` are added to the environment meanwhile.
    """

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None
    calls: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)

    def lasting(self, seconds: float, device: str = "cpu") -> Run:
        """The same with as many calls as last about that long, at least 3."""
        timed(replace(self, calls=3), device)
        return replace(self, calls=max(3, round(seconds / timed(replace(self, calls=3), device))))


def timed(run: Run, device: str = "cpu") -> Seconds:
    """Seconds a call."""
    with mock.patch.dict(os.environ, run.variables):
        return _timed(run, device)


def _timed(run: Run, device: str) -> Seconds:
    prepared = run.prepare()
    if device == "cuda":
        # Flushes the L2 cache: between two uses in a real network its contents are gone.
        torch.empty(1 << 28, dtype=torch.int8, device=device).zero_()
        torch.cuda.synchronize()
    start, processor = time.perf_counter(), time.process_time()
    for _ in range(run.calls):
        run.run(prepared)
    if device == "cuda":
        torch.cuda.synchronize()
    wall, processor = time.perf_counter() - start, time.process_time() - processor
    return Seconds(wall / run.calls, processor / run.calls)


def interleave(
    runs: Mapping[Key, Run], *, rounds: int, device: str = "cpu"
) -> dict[Key, list[Seconds]]:
    """Seconds a call of every run in every round, after two rounds of warm-up.

    The order changes from round to round: none always finds the caches as the same other left
    them.
    """
    order, shuffle = list(runs), random.Random(0).shuffle
    samples: dict[Key, list[Seconds]] = {key: [] for key in runs}
    for number in range(-2, rounds):
        shuffle(order)
        for key in order:
            seconds = timed(runs[key], device)
            if number >= 0:
                samples[key].append(seconds)
    return samples


def spread(samples: Sequence[float]) -> tuple[float, float, float]:
    """Median, 10th and 90th percentile."""
    ordered = sorted(samples)
    return (
        statistics.median(ordered),
        ordered[len(ordered) // 10],
        ordered[len(ordered) * 9 // 10],
    )


def circumstances(samples: Sequence[Seconds], threads: int) -> dict[str, Any]:
    """For a row: every round's time in ms, processor time over wall time, and whether it was busy.

    Args:
        samples: of one contender.
        threads: that it may use.
    """
    shares = [one.processor / one for one in samples if one > 0]
    _, fast, slow = spread(samples)
    found = {
        "samples_ms": [round(1e3 * one, 4) for one in samples],
        "processor_over_wall": round(statistics.median(shares), 3) if shares else 0.0,
    }
    load = os.getloadavg()[0]
    reasons = []
    if fast > 0 and slow / fast > WIDE:
        reasons.append(f"the slow rounds took {slow / fast:.1f} times as long as the fast ones")
    if load > threads + OTHERS:
        reasons.append(f"{load:.1f} programs wanted a CPU, of which {threads} are ours")
    return found | ({"busy": "; ".join(reasons)} if reasons else {})
