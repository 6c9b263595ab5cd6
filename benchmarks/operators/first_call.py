"""How long a first result takes once torch is imported: a forward pass, then a training step.

Every contender has a process of its own, with the compilers' caches empty, so that what it loads,
compiles or tunes is in the figure. `python -m benchmarks.operators.first_call` is that process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.operators.contenders import stacks
from benchmarks.operators.options import Options
from benchmarks.operators.stack import pass_of
from benchmarks.reporting.rows import Row
from benchmarks.timing import timed

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
FIGURES = ("forward_s", "step_s", "second_step_s")


def measure(options: Options) -> Iterator[list[Row]]:
    """A row for each contender: medians over a few processes, one after another."""
    workload = options.one()
    contenders = list(options.contending_stacks())
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    errors: dict[str, str] = {}
    for _ in range(options.processes):
        for name in contenders:
            if name in errors:
                continue
            try:
                found[name].append(_in_a_process(name, options))
            except subprocess.CalledProcessError as error:
                lines = error.stderr.strip().splitlines()
                errors[name] = lines[-1] if lines else f"exit status {error.returncode}"
    rows = []
    for name in contenders:
        row: Row = {"workload": workload.name, "sizes": workload.sizes, "contender": name}
        if name in errors:
            row["error"] = errors[name]
        else:
            row["processes"] = options.processes
            for figure in FIGURES:
                row[figure] = sorted(one[figure] for one in found[name])[options.processes // 2]
        rows.append(row)
    yield rows


def _in_a_process(contender: str, options: Options) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.operators.first_call", contender]
    command += ["--device", options.device, "--dtype", str(options.dtype).removeprefix("torch.")]
    command += ["--workload", *options.workloads]
    with tempfile.TemporaryDirectory() as folder:
        caches = {name: str(Path(folder) / name) for name in CACHES}
        done = subprocess.run(
            command, env={**os.environ, **caches}, capture_output=True, text=True, check=True
        )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Print the figures of one contender as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--workload", nargs="*", default=())
    given = parser.parse_args()
    options = Options(given.device, getattr(torch, given.dtype), workloads=given.workload)
    workload = options.one()
    tensors = workload.tensors(options.device, options.dtype)
    stack = stacks(options.device, [given.contender])[given.contender]
    forward, step = (pass_of(what, stack, workload, tensors) for what in ("forward", "step"))
    seconds = [timed(run, options.device) for run in (forward, step, step)]
    print(json.dumps(dict(zip(FIGURES, seconds, strict=True))))


if __name__ == "__main__":
    main()
