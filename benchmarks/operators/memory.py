"""Peak memory: what torch allocates during a run, and what we allocate beside it."""

from __future__ import annotations

import importlib
import resource
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.timing import Run
from wavenet_kernels import kept


def peak_mib(run: Run, device: str) -> float:
    """MiB that one call allocates at most, beyond what was allocated when it began.

    On a CPU this is torch's peak plus that of the workspaces of `wavenet_kernels._cpu` and of what
    is kept for backward (`wavenet_kernels.kept`), which torch knows nothing of: an upper bound, for
    they need not come at the same moment. Nor is what the call frees of earlier tensors taken off
    there, as it is on a GPU.
    """
    prepared = run.prepare()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run.run(prepared)
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    workspace_peak = _workspace_peak()
    workspace_peak(True)
    kept.peak(reset=True)
    kept_before = kept.peak(reset=False)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run.run(prepared)
    held = peak = 0
    assert profile.profiler is not None and profile.profiler.kineto_results is not None
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return (peak + workspace_peak(False) + kept.peak(reset=False) - kept_before) / 2**20


def limit_memory() -> None:
    """Let this process have no more than is free now: an allocation fails, and nothing is killed.

    Does nothing where the system doesn't say what is free.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            most = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (int(line.split()[1]) * 1024, most))


def _workspace_peak() -> Callable[[bool], int]:
    """Of the compiled module: the workspaces' peak in bytes since the last call with True."""
    try:
        module = importlib.import_module("wavenet_kernels._cpu")
    except ImportError:
        return lambda reset: 0
    found: Callable[[bool], int] = getattr(module, "workspace_peak", lambda reset: 0)
    return found
