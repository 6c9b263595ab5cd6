"""How a pass grows with the signal, the batch, the channels and the threads.

Two layers, one with near and one with far taps, stand for the network: what a pass costs is a
multiple of theirs, and the longest signals fit in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from benchmarks.operators.options import Options
from benchmarks.operators.stack import measure_stacks
from benchmarks.operators.workloads import Workload
from benchmarks.reporting.rows import Row

DILATIONS = (1, 512)
LONG = 10_000  # samples of the signals whose other sizes vary


def points(workload: Workload, longest: int, device: str) -> Iterator[tuple[str, int, Workload]]:
    """What varies, its value, and the workload there; R takes D and S with it."""
    base = replace(workload, name="scaling", dilations=DILATIONS, time=LONG, batch=1)
    for time in (1_000, 10_000, 100_000, 1_000_000):
        if time <= longest:
            yield "T", time, replace(base, time=time)
    for batch in (1, 4, 16, 64):
        yield "B", batch, replace(base, batch=batch, time=LONG // 10)
    for channels in (16, 32, 64, 128, 256):
        skip = channels * workload.skip // workload.residual
        gate = channels * workload.dilation_channels // workload.residual
        sizes = {"residual": channels, "dilation_channels": max(1, gate), "skip": skip}
        yield "R", channels, replace(base, **sizes)
    if device == "cpu":
        cpus, threads = os.cpu_count() or 1, 1
        while threads < cpus:
            yield "threads", threads, base
            threads *= 2
        yield "threads", cpus, base


def measure(options: Options) -> Iterator[list[Row]]:
    """The rows of each point, with `axis` and `value`."""
    return measure_points(points(options.one(), options.longest, options.device), options)


def measure_points(
    those: Iterable[tuple[str, int, Workload]], options: Options
) -> Iterator[list[Row]]:
    """The same of given points; the number of threads is in the end what it was."""
    before = torch.get_num_threads()
    try:
        for axis, value, workload in those:
            torch._dynamo.reset()
            torch.set_num_threads(value if axis == "threads" else before)
            rows = measure_stacks(workload, options)
            yield [{"axis": axis, "value": value, **row} for row in rows]
    finally:
        torch.set_num_threads(before)
