"""What calibration finds out here, and what it costs: a workload's first use, every later call.

The decisions are made anew, in an empty cache. A call's cost is what choosing its backend takes of
Python, as processor time: the least over many turns, for the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.environment import BUILD, environment, machine, write_results
from benchmarks.reporting.rows import Row
from wavenet_kernels import calibration
from wavenet_kernels.calibration import choice, program, store
from wavenet_kernels.call import Call

TURNS, CALLS = 200, 500


def main(arguments: Sequence[str]) -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks calibration", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=program.WORKLOADS)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--batch", type=int, help="B; default: 32 on a GPU, else 1")
    parser.add_argument("--time", type=int, default=16000, help="T")
    parser.add_argument("--out", type=Path, default=BUILD)
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = given.batch or (32 if device == "cuda" else 1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WAVENET_KERNELS_CACHE"] = folder
        store.forget_memory()
        where = environment(device)
        rows: list[Row] = []
        for name in given.workloads or program.WORKLOADS:
            call = program.stack(
                program.WORKLOADS[name],
                batch,
                given.time,
                torch.device(device),
                getattr(torch, given.dtype),
            )
            rows.append(decided(name, call))
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "decision"}, indent=1))
    content = {"benchmark": "calibration", **where, "dtype": given.dtype, "rows": rows}
    write_results(given.out / f"calibration-{machine(device)}-{given.dtype}.json", content)


def decided(name: str, call: Call) -> Row:
    """The decision on a training step, seconds until it was made, and a call's cost after it."""
    start = time.perf_counter()
    (made,) = calibration.calibrate([(call, True)], budget_s=600)
    seconds = time.perf_counter() - start
    auto = lambda: choice.choose(call, "auto", step=True)  # noqa: E731
    named = lambda: choice.choose(call, made.candidate.backend, step=True)  # noqa: E731
    nothing = lambda: None  # noqa: E731
    auto()
    overhead = microseconds(nothing)
    return {
        "workload": name,
        "contender": made.candidate.label,
        "why": made.why,
        "load": round(os.getloadavg()[0], 1),
        "first_use_s": round(seconds, 3),
        "decided_call_us": round(microseconds(auto) - overhead, 3),
        "named_call_us": round(microseconds(named) - overhead, 3),
        "figures": made.figures,
        "refused": made.refused,
        "decision": made.as_entry(),
    }


def microseconds(call: Callable[[], object]) -> float:
    """Processor time of a call, of the least of many turns."""
    best = float("inf")
    for _ in range(TURNS):
        start = time.thread_time()
        for _ in range(CALLS):
            call()
        best = min(best, time.thread_time() - start)
    return 1e6 * best / CALLS
