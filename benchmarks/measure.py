"""How it is measured: one process, contenders interleaved, medians and spreads, ceilings beside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.contenders import Stack
from benchmarks.workloads import Workload

Row = dict[str, Any]


def measure(
    workload: Workload, stacks: dict[str, Stack], *, rounds: int, device: str, dtype: torch.dtype
) -> list[Row]:
    """Forward and training step of every contender, `rounds` times in turn; a row for each."""
    tensors = workload.tensors(device, dtype)
    leaves = [t.clone().requires_grad_() for t in tensors]
    settings = {"dilations": workload.dilations, "padding": workload.padding}
    runs: dict[tuple[str, str], Callable[[], None]] = {}
    for name, stack in stacks.items():
        runs[name, "forward"] = _forward(stack, tensors, settings)
        runs[name, "step"] = _step(stack, leaves, settings)
    rows = []
    for (name, what), run in list(runs.items()):
        row: Row = {"workload": workload.name, "contender": name, "pass": what}
        rows.append(row)
        try:
            row["first_ms"] = 1e3 * _seconds(run, device)
            row["peak_mib"] = _peak_memory(run, device)
            for _ in range(2):
                _seconds(run, device)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            del runs[name, what]
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            samples[key].append(_seconds(run, device))
    for row in rows:
        values = sorted(samples.get((row["contender"], row["pass"]), []))
        if values:
            median = values[len(values) // 2]
            flops = workload.forward_flops * (3 if row["pass"] == "step" else 1)
            row["median_ms"] = 1e3 * median
            row["p10_ms"] = 1e3 * values[len(values) // 10]
            row["p90_ms"] = 1e3 * values[len(values) * 9 // 10]
            row["gflops"] = flops / median / 1e9
    return rows


def matrix_rate(workload: Workload, *, rounds: int, device: str, dtype: torch.dtype) -> float:
    """GFLOP/s of one matrix product of the dilated convolution's size: the ceiling."""
    rows = workload.batch * workload.time
    a = torch.randn(rows, workload.taps * workload.residual).to(device, dtype)
    b = torch.randn(workload.taps * workload.residual, 2 * workload.dilation_channels).to(a)
    out = torch.empty(rows, b.shape[1]).to(a)
    seconds = sorted(_seconds(lambda: torch.mm(a, b, out=out), device) for _ in range(rounds + 3))
    return 2 * rows * b.shape[0] * b.shape[1] / seconds[len(seconds) // 2] / 1e9


def _forward(stack: Stack, tensors: list[torch.Tensor], settings: Row) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            stack(*tensors, **settings)

    return run


def _step(stack: Stack, leaves: list[torch.Tensor], settings: Row) -> Callable[[], None]:
    def run() -> None:
        residual, skip = stack(*leaves, **settings)
        gradients = [torch.ones_like(residual), torch.ones_like(skip)]
        torch.autograd.grad([residual, skip], leaves, gradients)

    return run


def _seconds(run: Callable[[], object], device: str) -> float:
    if device == "cuda":
        # Flushes the L2 cache: between two uses in a real network its contents are gone.
        torch.empty(1 << 28, dtype=torch.int8, device=device).zero_()
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _peak_memory(run: Callable[[], None], device: str) -> float:
    """MiB that torch allocates at most during one run, beyond what was allocated before."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 2**20
