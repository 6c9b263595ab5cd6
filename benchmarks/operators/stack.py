"""A residual stack's passes: every contender in one process, interleaved, ceilings beside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.operators.ceilings import ceilings_of, stack_ceilings
from benchmarks.operators.contenders import Stack
from benchmarks.operators.memory import peak_mib
from benchmarks.operators.options import Options
from benchmarks.operators.truth import Truth
from benchmarks.operators.workloads import Workload
from benchmarks.reporting.rows import Row, sentence
from benchmarks.timing import Run, circumstances, interleave, spread, timed

Settings = dict[str, Any]


def measure(options: Options) -> Iterator[list[Row]]:
    """The rows of each workload."""
    for workload in options.stacks():
        torch._dynamo.reset()
        yield measure_stacks(workload, options)


def measure_stacks(workload: Workload, options: Options) -> list[Row]:
    """The passes of every contender, `options.rounds` times in turn; a row for each.

    A training step is forward and backward; "backward" is timed alone, and its memory is what it
    takes beyond what forward kept.
    """
    device, dtype = options.device, options.dtype
    tensors = workload.tensors(device, dtype)
    settings = settings_of(workload)
    runs: dict[Any, Run] = {}
    rows = []
    truth, untold = None, ""
    try:
        truth = Truth(tensors, settings, gradients=set(options.passes) != {"forward"})
    except Exception as error:  # nothing unchecked gets a number
        untold = f"float64 reference: {sentence(error)}"
    for name, stack in options.contending_stacks().items():
        for what in options.passes:
            run = pass_of(what, stack, workload, tensors)
            row: Row = {"workload": workload.name, "sizes": workload.sizes}
            row.update({"contender": name, "pass": what})
            rows.append(row)
            if truth is None:
                row["error"] = untold
                continue
            try:
                row["first_ms"] = 1e3 * timed(run, device)
                with mock.patch.dict(os.environ, run.variables):
                    with torch.no_grad():
                        row["error_over_eagers"] = truth.check(stack(*tensors, **settings))
                    if what != "forward":  # its errors are those of gradients
                        row["error_over_eagers"] = truth.check_gradients(stack)
                row["peak_mib"] = peak_mib(run, device)
                runs[name, what] = run
            except Exception as error:
                row["error"] = sentence(error)
    del truth
    bounds = stack_ceilings(workload, device, dtype, options.copied)
    samples = interleave({**runs, **bounds}, rounds=options.rounds, device=device)
    ceilings = ceilings_of(workload, samples, options.copied)
    for row in rows:
        row.update(ceilings)
        if "error" not in row:
            median, p10, p90 = spread(samples[row["contender"], row["pass"]])
            row.update(median_ms=1e3 * median, p10_ms=1e3 * p10, p90_ms=1e3 * p90)
            mine = samples[row["contender"], row["pass"]]
            row.update(circumstances(mine, torch.get_num_threads()))
            row["gflops"] = workload.flops(row["pass"]) / median / 1e9
            row["share"] = row["gflops"] / ceilings["ceiling_gflops"]
            row["gbs"] = workload.minimal_bytes(row["pass"], dtype) / median / 1e9
    return rows


def settings_of(workload: Workload) -> Settings:
    """What a stack is called with beside tensors."""
    return {"dilations": workload.dilations, "padding": workload.padding}


def pass_of(what: str, stack: Stack, workload: Workload, tensors: list[Tensor]) -> Run:
    """A pass of a contender, with what steers it."""
    run = PASSES[what](stack, tensors, settings_of(workload))
    return replace(run, variables=getattr(stack, "variables", {}))


def _forward(stack: Stack, tensors: list[Tensor], settings: Settings) -> Run:
    def run(_: None) -> None:
        with torch.no_grad():
            stack(*tensors, **settings)

    return Run(run)


def _backward(stack: Stack, tensors: list[Tensor], settings: Settings) -> Run:
    leaves = [t.clone().requires_grad_() for t in tensors]

    def prepare() -> tuple[Sequence[Tensor], list[Tensor]]:
        outputs = stack(*leaves, **settings)
        return outputs, [torch.ones_like(output) for output in outputs]

    def run(prepared: tuple[Sequence[Tensor], list[Tensor]]) -> None:
        torch.autograd.grad(prepared[0], leaves, prepared[1])

    return Run(run, prepare)


def _step(stack: Stack, tensors: list[Tensor], settings: Settings) -> Run:
    backward = _backward(stack, tensors, settings)
    return Run(lambda _: backward.run(backward.prepare()))


PASSES: dict[str, Callable[[Stack, list[Tensor], Settings], Run]] = {
    "forward": _forward,
    "backward": _backward,
    "step": _step,
}
