"""What is slow or missing on this machine, and how to mend it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from wavenet_kernels import backends, calibration

State = Literal["good", "slow", "missing"]
# Of the CPUs: what other programs may keep busy before it is worth a word.
BUSY = 0.5


class Finding(NamedTuple):
    """One thing that was looked at; `remedy` is empty where there is nothing to do."""

    what: str
    state: State
    detail: str
    remedy: str = ""


def findings() -> list[Finding]:
    """About kernels, threads and GPUs; nothing is measured."""
    return [_kernels(), _threads(), *_load(), *_gpu(), *_variables(os.environ)]


def usable_cpus() -> float:
    """The CPUs that this process may use: by its affinity, and by a container's quota."""
    everywhere = os.cpu_count() or 1
    cpus = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else everywhere)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cpus, float(quota) / float(period))
    except (OSError, ValueError):  # no such file, or "max"
        return cpus


def _kernels() -> Finding:
    module = backends.load("cpu")
    if reason := module.unavailable():
        return Finding(
            "CPU kernels",
            "missing",
            reason,
            "a C++17 compiler, then: pip install --force-reinstall --no-deps wavenet-kernels "
            "(in a checkout: make install)",
        )
    said = module.describe()
    if said.startswith("portable"):
        return Finding(
            "CPU kernels",
            "slow",
            said,
            "a processor with AVX2 or AVX-512; or WAVENET_KERNELS_CPU_ISA is set to portable",
        )
    return Finding("CPU kernels", "good", said)


def _threads() -> Finding:
    threads, cpus = torch.get_num_threads(), usable_cpus()
    said = f"{threads} of torch for {cpus:g} CPU(s) that may be used"
    if threads > cpus + 0.5:
        return Finding("threads", "slow", said, f"OMP_NUM_THREADS={max(1, int(cpus))}")
    if threads < cpus / 2:  # torch takes one for each core, of which a CPU may be half
        named = os.environ.get("OMP_NUM_THREADS")
        remedy = f"OMP_NUM_THREADS is {named}; " if named else ""
        return Finding("threads", "slow", said, f"{remedy}OMP_NUM_THREADS={int(cpus)}")
    return Finding("threads", "good", said)


def _load() -> list[Finding]:
    try:
        load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    except (AttributeError, OSError):  # a system that doesn't say
        return []
    said = f"{load:.1f} programs wanted one of {cpus} CPU(s) at a time in the last minute"
    if load > BUSY * cpus:
        return [Finding("load", "slow", said, "wait for others to end; measure nothing meanwhile")]
    return [Finding("load", "good", said)]


def _gpu() -> list[Finding]:
    if not torch.cuda.is_available():
        if Path("/dev/nvidia0").exists() and torch.version.cuda is None:
            remedy = "a torch that is built with CUDA: https://pytorch.org/get-started/locally"
            detail = f"there is one, and torch {torch.__version__} is built without CUDA"
            return [Finding("GPU", "missing", detail, remedy)]
        if Path("/dev/nvidia0").exists():
            remedy = "a driver that nvidia-smi works with; CUDA_VISIBLE_DEVICES may hide the GPU"
            return [Finding("GPU", "missing", "there is one that torch does not see", remedy)]
        return [Finding("GPU", "good", "none; everything is computed on the CPU")]
    names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    found = [Finding("GPU", "good", ", ".join(sorted(names)))]
    remedies = {
        "triton": "pip install 'wavenet-kernels[triton]'",
        "cuda": "WAVENET_KERNELS_CUDA=1 pip install --force-reinstall --no-deps wavenet-kernels, "
        "with nvcc on PATH",
    }
    for name, remedy in remedies.items():
        module = backends.load(name)
        if reason := module.unavailable():
            found.append(Finding(f"{name} kernels", "missing", reason, remedy))
        else:
            found.append(Finding(f"{name} kernels", "good", module.describe()))
    if calibration.nothing_is_known():
        found.append(
            Finding(
                "calibration",
                "slow",
                'nothing was measured, and on a GPU "auto" takes what it has checked and timed',
                "train once, or: python -m wavenet_kernels calibrate --help",
            )
        )
    return found


def _variables(environment: Mapping[str, str]) -> list[Finding]:
    """Those that were set to try something, perhaps, and left so."""
    return [
        Finding(name, "slow", f"is {environment[name]}", f"unset {name}")
        for name, usual in (
            ("WAVENET_KERNELS_BACKEND", "auto"),
            ("WAVENET_KERNELS_CPU_FAST", "1"),
        )
        if environment.get(name, usual) not in ("", usual)
    ]
