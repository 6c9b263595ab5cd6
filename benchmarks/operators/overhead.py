"""What a call costs that has next to nothing to compute: a stack over a single sample.

On a GPU there are two times: until the call returns, having only launched kernels, and until the
kernels are done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.operators.options import Options
from benchmarks.operators.stack import pass_of
from benchmarks.reporting.rows import Row, sentence
from benchmarks.timing import Run, interleave, spread, timed

ROUND_SECONDS = 0.02  # of consecutive calls


def measure(options: Options) -> Iterator[list[Row]]:
    """The rows of the workload's stack over one sample."""
    device = options.device
    workload = replace(options.one(), batch=1, time=1)
    tensors = workload.tensors(device, options.dtype)
    torch._dynamo.reset()
    runs: dict[Any, Run] = {}
    rows = []
    for name, stack in options.contending_stacks().items():
        for what in options.passes:
            row: Row = {"workload": workload.name, "sizes": workload.sizes}
            row.update({"contender": name, "pass": what, "layers": len(workload.dilations)})
            rows.append(row)
            one = pass_of(what, stack, workload, tensors)
            try:
                timed(one, device)
                # A graph is gone through backward once only.
                repeated = one if what == "backward" else one.lasting(ROUND_SECONDS, device)
            except Exception as error:
                row["error"] = sentence(error)
                continue
            runs[name, what] = repeated
    samples = interleave(runs, rounds=options.rounds, device=device)
    for row in rows:
        if "error" in row:
            continue
        run = runs[row["contender"], row["pass"]]
        median, p10, p90 = spread(samples[row["contender"], row["pass"]])
        row.update(median_us=1e6 * median, p10_us=1e6 * p10, p90_us=1e6 * p90)
        row["us_a_layer"] = row["median_us"] / row["layers"]
        if device == "cuda":
            row["returned_us"] = 1e6 * _returned(run)
    yield rows


def _returned(run: Run) -> float:
    """Seconds until a call is back; the kernels may be under way still."""
    samples = []
    for _ in range(20):
        prepared = run.prepare()
        torch.cuda.synchronize()
        start = time.perf_counter()
        run.run(prepared)
        samples.append(time.perf_counter() - start)
    return spread(samples)[0]
