"""`python -m benchmarks neighbour`: what another program's load costs our threads.

A stack's passes on all CPUs, alone and beside programs that never rest, round by round in turn (the
programs are stopped and go on). A fair slowdown is what equal shares of the CPUs come to:
(threads + neighbours) / CPUs. What waits for a thread that had to give its CPU away takes longer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.environment import BUILD, environment, write_results
from benchmarks.operators.contenders import stacks
from benchmarks.operators.stack import pass_of
from benchmarks.operators.workloads import WORKLOADS, Workload
from benchmarks.timing import Run, spread, timed

CONTENDERS = ("eager", "ours cpu")
PASSES = ("forward", "step")
SETTLED = 0.3  # seconds, after programs were stopped or went on


class Neighbours:
    """Programs that compute without end, at rest but while `busy`."""

    def __init__(self, count: int) -> None:
        self.programs = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)
        ]
        self._tell(signal.SIGSTOP)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        self._tell(signal.SIGCONT)
        try:
            yield
        finally:
            self._tell(signal.SIGSTOP)

    def end(self) -> None:
        for program in self.programs:
            program.kill()
            program.wait()

    def _tell(self, what: signal.Signals) -> None:
        for program in self.programs:
            program.send_signal(what)
        time.sleep(SETTLED)


def measure(workload: Workload, count: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each contender and pass: medians alone and beside `count` neighbours."""
    tensors = workload.tensors("cpu", torch.float32)
    runs: dict[tuple[str, str], Run] = {
        (name, what): pass_of(what, stack, workload, tensors)
        for name, stack in stacks("cpu", CONTENDERS).items()
        for what in PASSES
    }
    alone: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    beside: dict[tuple[str, str], list[float]] = {key: [] for key in runs}

    def a_round(samples: dict[tuple[str, str], list[float]]) -> None:
        for key, run in runs.items():
            samples[key].append(timed(run))

    neighbours = Neighbours(count)
    try:
        for _ in range(1 + rounds):
            a_round(alone)
            with neighbours.busy():
                a_round(beside)
    finally:
        neighbours.end()
    threads, cpus = torch.get_num_threads(), len(os.sched_getaffinity(0))
    fair = max(1.0, (threads + count) / cpus)
    rows = []
    for name, what in runs:
        key = name, what
        quiet, busy = spread(alone[key][1:]), spread(beside[key][1:])  # the first warms up
        rows.append(
            {
                **{"workload": workload.name, "contender": name, "pass": what},
                **{"threads": threads, "neighbours": count, "fair_slowdown": fair},
                "alone_ms": [round(1e3 * value, 3) for value in quiet],
                "beside_ms": [round(1e3 * value, 3) for value in busy],
                "slowdown_over_fair": round(busy[0] / quiet[0] / fair, 3),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print a table, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks neighbour", description=__doc__)
    names = [workload.name for workload in WORKLOADS]
    default = ["small", "reference", "clips"]
    parser.add_argument("--workloads", nargs="+", choices=names, default=default)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=BUILD / "neighbour-cpu.json")
    options = parser.parse_args(arguments)
    where = environment()  # the commit that runs, whatever is edited meanwhile
    rows: list[dict[str, Any]] = []
    table = Table(
        "workload", "pass", "contender", "neighbours", "alone, ms", "beside, ms", "x fair"
    )
    for workload in WORKLOADS:
        for count in options.neighbours if workload.name in options.workloads else ():
            for row in measure(workload, count, options.rounds):
                rows.append(row)
                table.add_row(
                    *(row["workload"], row["pass"], row["contender"], str(count)),
                    *(f"{row['alone_ms'][0]:.1f}", f"{row['beside_ms'][0]:.1f}"),
                    f"{row['slowdown_over_fair']:.2f}",
                )
    Console(width=100).print(table)
    content = {"benchmark": "neighbour", "rounds": options.rounds, "rows": rows}
    write_results(options.out, {**content, **where})
