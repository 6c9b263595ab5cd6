"""`python -m benchmarks kept`: a training step that keeps the layers' inputs, or the gates as well.

By workload: how many products a step has, in those of eager PyTorch's forward pass (an eager step
has three times as many); the peak of its memory; and the processor time of one thread, steps of all
in turn, over eager's, medians. Time says something where eager, taken twice, is near 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.operators.contenders import Ours, Stack
from benchmarks.operators.memory import peak_mib
from benchmarks.operators.stack import pass_of
from benchmarks.operators.workloads import WORKLOADS, Workload
from benchmarks.timing import Run
from wavenet_kernels import reference


def products(workload: Workload, *, keeps_gates: bool) -> float:
    """Of our step on a CPU, over those of eager PyTorch's forward pass.

    Convolutions of two and three taps have a quarter and a third less (csrc/cpu/fast.h), forward,
    again in backward where it starts from the inputs, and for the gradients of input and weight.
    """
    conv = 2 * workload.taps * workload.residual * workload.dilation_channels
    out = workload.dilation_channels * (workload.residual + workload.skip)
    fast = conv * {2: 3 / 4, 3: 2 / 3}.get(workload.taps, 1)
    passes = 3 if keeps_gates else 4
    return (passes * fast + 3 * out) / (conv + out)


def contenders() -> dict[str, Stack]:
    """Eager PyTorch twice, and ours."""
    ours = Ours("cpu")
    return {
        "eager": reference.residual_stack,
        "inputs": partial(ours, keep="inputs"),
        "gates": partial(ours, keep="gates"),
        "auto": partial(ours, keep="auto"),
        "eager again": reference.residual_stack,
    }


def steps(workload: Workload) -> dict[str, Run]:
    """A training step of each contender."""
    tensors = workload.tensors("cpu", torch.float32)
    return {name: pass_of("step", stack, workload, tensors) for name, stack in contenders().items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kept")
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--workloads", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=20, help="steps of each, in turn")
    parser.add_argument("--time", type=int, help="samples of a clip, in place of the workload's")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = Table("workload", "a step of", "products", "peak, MiB", "ms", "x eager")
    for workload in WORKLOADS:
        if workload.name in options.workloads:
            _measure(replace(workload, time=options.time or workload.time), options.rounds, table)
    Console(width=100).print(table)


def _measure(workload: Workload, rounds: int, table: Table) -> None:
    runs = steps(workload)
    peaks = {name: peak_mib(run, "cpu") for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()  # not thread_time: autograd has a thread of its own
            run.run(run.prepare())
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(samples) for name, samples in seconds.items()}
    number = {"inputs": products(workload, keeps_gates=False)}
    number["gates"] = products(workload, keeps_gates=True)
    for name in runs:
        table.add_row(
            workload.name if name == "eager" else "",
            name,
            f"{number.get(name, 3):.2f}" if name != "auto" else "",
            f"{peaks[name]:.1f}",
            f"{1e3 * medians[name]:.0f}",
            f"{medians['eager'] / medians[name]:.2f}",
        )
