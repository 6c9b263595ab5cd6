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


def timed(run: Run, device: str = "cpu") -> float:
    """Seconds a call."""
    with mock.patch.dict(os.environ, run.variables):
        return _timed(run, device)


def _timed(run: Run, device: str) -> float:
    prepared = run.prepare()
    if device == "cuda":
        # Flushes the L2 cache: between two uses in a real network its contents are gone.
        torch.empty(1 << 28, dtype=torch.int8, device=device).zero_()
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(run.calls):
        run.run(prepared)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / run.calls


def interleave(
    runs: Mapping[Key, Run], *, rounds: int, device: str = "cpu"
) -> dict[Key, list[float]]:
    """Seconds a call of every run in every round, after two rounds of warm-up.

    The order changes from round to round: none always finds the caches as the same other left
    them.
    """
    order, shuffle = list(runs), random.Random(0).shuffle
    samples: dict[Key, list[float]] = {key: [] for key in runs}
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
