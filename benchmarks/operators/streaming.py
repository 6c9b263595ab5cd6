"""A stack fed in small chunks, on one thread of a CPU, or on a GPU.

Every contender keeps its own history, is first checked against the stack over the whole signal,
and is then timed over some consecutive calls a round. Two bounds stand beside the times: real time
at 16 kHz, and reading every weight once a call at the rate at which an array of that size is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from benchmarks.operators.ceilings import read_run
from benchmarks.operators.contenders import Step, StreamMaker, streams
from benchmarks.operators.options import Options
from benchmarks.operators.truth import Truth
from benchmarks.operators.workloads import StreamWorkload
from benchmarks.reporting.rows import Row, sentence
from benchmarks.timing import Run, circumstances, interleave, spread

SAMPLE_RATE = 16000
ROUND_SECONDS = 0.02  # of consecutive calls


def measure(options: Options) -> Iterator[list[Row]]:
    """The rows of each stream."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for workload in options.streams():
            makers = streams(options.device, workload.chunk, options.contenders)
            yield measure_streams(workload, makers, options)
    finally:
        torch.set_num_threads(threads)


def measure_streams(
    workload: StreamWorkload, makers: Mapping[str, StreamMaker], options: Options
) -> list[Row]:
    """A row for each contender."""
    device = options.device
    signal, *weights = workload.signal.tensors(device, options.dtype)
    truth = Truth((signal, *weights), {"dilations": workload.stack.dilations}, gradients=False)
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
                runs[name] = _feed(step, chunks).lasting(ROUND_SECONDS, device)
        except Exception as error:
            row["error"] = sentence(error)
    read = read_run(weight_bytes, device).lasting(ROUND_SECONDS, device)
    with torch.inference_mode():  # eager is up to a quarter slower under no_grad
        samples = interleave({**runs, "read": read}, rounds=options.rounds, device=device)
    read_rate = weight_bytes / spread(samples["read"])[0]
    for row in rows:
        row.update(chunk=workload.chunk, weight_bytes=weight_bytes, read_gbs=read_rate / 1e9)
        if "error" not in row:
            median, p10, p90 = spread(samples[row["contender"]])
            row.update(median_us=1e6 * median, p10_us=1e6 * p10, p90_us=1e6 * p90)
            row.update(circumstances(samples[row["contender"]], torch.get_num_threads()))
            row["calls"] = runs[row["contender"]].calls
            row["real_time"] = workload.chunk / SAMPLE_RATE / median
            row["gflops"] = workload.stack.forward_flops / median / 1e9
            row["share"] = weight_bytes / median / read_rate
    return rows


def _feed(step: Step, chunks: list[Tensor]) -> Run:
    """The chunks, round and round: the signal goes on from call to call."""
    feed = itertools.cycle(chunks)
    return Run(lambda _: step(next(feed)))
