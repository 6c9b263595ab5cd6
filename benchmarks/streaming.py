"""`python -m benchmarks.streaming`: a stack fed in small chunks, on one thread of the CPU.

Every contender keeps its own history, is first checked against the stack over the whole signal,
and is then timed over some consecutive calls a round. Two bounds stand beside the times: real time
at 16 kHz, and reading every weight once a call at the rate at which an array of that size is read.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import wavenet_kernels
from benchmarks.ceilings import read_run
from benchmarks.check import Truth, sentence
from benchmarks.contenders import chosen
from benchmarks.eager_stream import StreamConv, StreamRing, StreamRows
from benchmarks.environment import RESULTS, environment, write_results
from benchmarks.measure import Row
from benchmarks.timing import Run, interleave, spread
from benchmarks.workloads import STREAMS, StreamWorkload

SAMPLE_RATE = 16000
ROUND_SECONDS = 0.02  # of consecutive calls
EAGER = ("eager", "eager rows")  # what speed-ups are over: the faster of the two

# Given the weights, dilations and batch, as StackStream is: what is called with chunk after chunk.
Step = Callable[[Tensor], Sequence[Tensor]]
StreamMaker = Callable[..., Step]


def contenders(chunk: int, wanted: list[str] | None = None) -> dict[str, StreamMaker]:
    """By name; a new one is a line here."""
    every: dict[str, StreamMaker] = {
        "eager": StreamConv,
        "eager rows": StreamRing if chunk == 1 else StreamRows,
        "ours operator": _operator,
        "ours StackStream": _stack_stream,
        "eager again": StreamConv,
    }
    return chosen(every, wanted)


def _operator(*weights: Tensor, dilations: Sequence[int], batch: int) -> Step:
    _, _, residual, taps = weights[0].shape
    state = weights[0].new_zeros(batch, (taps - 1) * sum(dilations), residual)

    def step(x: Tensor) -> Sequence[Tensor]:
        nonlocal state
        with wavenet_kernels.use_backend("cpu"):
            *outputs, state = wavenet_kernels.residual_stack_stream(
                x, state, *weights, dilations=dilations
            )
        return outputs

    return step


def _stack_stream(*weights: Tensor, **settings: Any) -> Step:
    # Imported here: where it is missing, that is this contender's row.
    stream: Step = importlib.import_module("wavenet_kernels.streaming").StackStream(
        *weights, **settings
    )
    return stream


def measure(
    workload: StreamWorkload, makers: dict[str, StreamMaker], *, rounds: int, dtype: torch.dtype
) -> list[Row]:
    """A row for each contender."""
    signal, *weights = workload.signal.tensors("cpu", dtype)
    truth = Truth((signal, *weights), {"dilations": workload.stack.dilations})
    chunks = [chunk.contiguous() for chunk in signal.split(workload.chunk, dim=2)]
    settings = {"dilations": workload.stack.dilations, "batch": workload.stack.batch}
    weight_bytes = sum(weight.nbytes for weight in weights)
    runs: dict[str, Run] = {}
    rows = []
    for name, make in makers.items():
        row: Row = {"workload": workload.name, "sizes": workload.stack.sizes, "contender": name}
        rows.append(row)
        try:
            step = make(*weights, **settings)
            with torch.inference_mode():
                # What a contender returns may be overwritten by its next call.
                outputs = [[output.clone() for output in step(chunk)] for chunk in chunks]
                row["error_over_eagers"] = truth.check(
                    [torch.cat(parts, dim=2) for parts in zip(*outputs, strict=True)]
                )
                runs[name] = _feed(step, chunks).lasting(ROUND_SECONDS)
        except Exception as error:
            row["error"] = sentence(error)
    read = read_run(weight_bytes).lasting(ROUND_SECONDS)
    with torch.inference_mode():  # eager is up to a quarter slower under no_grad
        samples = interleave({**runs, "read": read}, rounds=rounds)
    read_rate = weight_bytes / spread(samples["read"])[0]
    for row in rows:
        row.update(chunk=workload.chunk, weight_bytes=weight_bytes, read_gbs=read_rate / 1e9)
        if "error" not in row:
            median, p10, p90 = spread(samples[row["contender"]])
            row.update(median_us=1e6 * median, p10_us=1e6 * p10, p90_us=1e6 * p90)
            row["calls"] = runs[row["contender"]].calls
            row["real_time"] = workload.chunk / SAMPLE_RATE / median
            row["gflops"] = workload.stack.forward_flops / median / 1e9
            row["share"] = weight_bytes / median / read_rate
    return rows


def _feed(step: Step, chunks: list[Tensor]) -> Run:
    """The chunks, round and round: the signal goes on from call to call."""
    feed = itertools.cycle(chunks)
    return Run(lambda _: step(next(feed)))


def table(rows: list[Row]) -> Table:
    """One line for each row; speed-ups are over the fastest eager contender."""
    caption = "weights {:.2f} MB, read at {read_gbs:.0f} GB/s"
    out = Table(
        "workload", "contender", caption=caption.format(rows[0]["weight_bytes"] / 1e6, **rows[0])
    )
    for heading in ("us a call", "p10-p90", "x eager", "x real time", "GFLOP/s", "of weight bound"):
        out.add_column(heading, justify="right")
    eager = fastest_eager(rows)
    for row in rows:
        if "error" in row:
            out.add_row(row["workload"], f"{row['contender']}: {row['error']}")
            continue
        out.add_row(
            row["workload"],
            row["contender"],
            f"{row['median_us']:.0f}",
            f"{row['p10_us']:.0f}-{row['p90_us']:.0f}",
            f"{eager / row['median_us']:.2f}" if eager else "",
            f"{row['real_time']:.2f}",
            f"{row['gflops']:.1f}",
            f"{row['share']:.0%}",
        )
    return out


def fastest_eager(rows: list[Row]) -> float | None:
    """Microseconds a call of the fastest eager contender among the rows of a workload."""
    eager = [row["median_us"] for row in rows if "error" not in row and row["contender"] in EAGER]
    return min(eager, default=None)


def main() -> None:
    """Parse the command line, measure, print, write."""
    names = [workload.name for workload in STREAMS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=names, default=names)
    parser.add_argument("--contenders", nargs="+", help="e.g. eager 'ours operator'; default: all")
    parser.add_argument("--rounds", type=int, default=20, help="measurements of each (default 20)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path, help="JSON file; default: in benchmarks/results/")
    options = parser.parse_args()

    torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype)
    where = environment()  # the commit that runs, whatever is edited meanwhile
    rows: list[Row] = []
    for workload in STREAMS:
        if workload.name not in options.workloads:
            continue
        makers = contenders(workload.chunk, options.contenders)
        measured = measure(workload, makers, rounds=options.rounds, dtype=dtype)
        rows += measured
        Console(width=150).print(table(measured))

    out = options.out or RESULTS / f"streaming-cpu-{options.dtype}.json"
    write_results(out, {**where, "dtype": options.dtype, "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
