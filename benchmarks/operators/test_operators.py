"""The stack under pytest-benchmark: `pytest benchmarks/ --benchmark-only`.

`--benchmark-autosave` keeps a run and `--benchmark-compare` sets the next beside it. Each entry's
extra_info has GFLOP/s and GB/s of its median, and the error against float64 over eager PyTorch's.
The contenders are not interleaved here: `python -m benchmarks run` is for figures to be quoted.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from benchmarks.operators.contenders import stacks
from benchmarks.operators.options import PASSES, Options
from benchmarks.operators.stack import pass_of, settings_of
from benchmarks.operators.truth import Truth
from benchmarks.timing import Run

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPTIONS = Options(DEVICE, torch.bfloat16 if DEVICE == "cuda" else torch.float32)
WORKLOADS = {workload.name: workload for workload in OPTIONS.stacks()}
CONTENDERS = stacks(DEVICE)


@lru_cache(maxsize=1)
def prepared(name: str) -> tuple[list[torch.Tensor], Truth]:
    """A workload's tensors and what is right."""
    torch._dynamo.reset()
    tensors = WORKLOADS[name].tensors(DEVICE, OPTIONS.dtype)
    return tensors, Truth(tensors, settings_of(WORKLOADS[name]))


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("what", PASSES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_stack(benchmark, monkeypatch, name, what, contender):
    workload, stack = WORKLOADS[name], CONTENDERS[contender]
    tensors, truth = prepared(name)
    benchmark.group = f"{name} {what}"
    run = pass_of(what, stack, workload, tensors)
    for variable, value in run.variables.items():
        monkeypatch.setenv(variable, value)
    if what == "forward":
        with torch.no_grad():
            error = truth.check(stack(*tensors, **settings_of(workload)))
    else:
        error = truth.check_gradients(stack)
    benchmark.pedantic(_synchronised(run), setup=_setup(run), rounds=20, warmup_rounds=2)
    median = benchmark.stats.stats.median
    benchmark.extra_info["GFLOP/s"] = workload.flops(what) / median / 1e9
    benchmark.extra_info["GB/s"] = workload.minimal_bytes(what, OPTIONS.dtype) / median / 1e9
    benchmark.extra_info["error / eager's"] = error


def _setup(run: Run):
    return lambda: ((run.prepare(),), {})


def _synchronised(run: Run):
    def call(prepared: object) -> None:
        run.run(prepared)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return call
