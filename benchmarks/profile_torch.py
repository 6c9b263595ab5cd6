"""Where torch's profiler sees a pass go: operators of eager PyTorch, or the kernels of a GPU.

A fused kernel is one entry whatever it does inside; which products and gates share it is in its
category's name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import Run

HOST = "launch and host"
ROWS = "residual and skip rows"

# By a word of the kernel's name; the first that fits. Triton's, CUDA's, then torch's own.
KERNELS = (
    ("fused_backward|layer_gradient", "fused backward: taps, gate, 1x1s"),
    ("gate_gradient", "fused backward: taps and gate recomputed, 1x1s"),
    ("data_gradient|convolution_kernel", "taps (gradient of x)"),
    ("weight_gradient", "taps and 1x1s (gradients of weights)"),
    ("sum_partials|sum_over_time|reduce", "sums of gradients"),
    ("gated_activation|(forward|backward)_kernel", "gate"),
    ("layers?_kernel|stream_kernel", "fused forward: taps, gate, 1x1s"),
    ("pack|copy|memcpy|memset|fill|cat", "packing and copies"),
)
# Of eager PyTorch; convolutions and products apart.
OPERATORS = (
    ("tanh|sigmoid|sub|pow", "gate"),
    ("copy|pad|fill|cat|stack|clone|zero", "packing and copies"),
    ("add", ROWS),
    ("sum", "sums of gradients"),
)


@dataclass(frozen=True)
class Entry:
    """What the profiler names: an operator with the shapes of its inputs, or a kernel."""

    name: str
    shapes: tuple[Any, ...] = ()

    @property
    def operator(self) -> str:
        """The category of an operator of eager PyTorch."""
        name = self.name.removeprefix("aten::")
        if name in ("conv1d", "convolution", "_convolution"):
            return HOST  # these choose who computes
        if "conv" in name:
            weight = self.shapes[2 if "backward" in name else 1]
            return "taps" if len(weight) > 2 and weight[-1] > 1 else "1x1s"
        if re.fullmatch("(add|b)?mm", name):
            return "1x1s"
        if name.startswith("mul"):  # by a number: the residual's scale
            return "gate" if self.shapes[1] else ROWS
        return _first(OPERATORS, name) or HOST

    @property
    def kernel(self) -> str:
        """The category of a kernel of ours, or of torch's beside them."""
        return _first(KERNELS, self.name.lower()) or "other kernels"


def _first(rules: Iterable[tuple[str, str]], name: str) -> str | None:
    return next((category for words, category in rules if re.search(words, name)), None)


def profiled(run: Run, *, device: str, kernels: bool, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds a pass by category, and how many launches or calls.

    Of each entry the fastest of the rounds counts: what else the machine does lengthens single
    ones. `kernels`: by the names of a GPU's kernels instead of those of operators. On a GPU the
    host's share is the time that no kernel takes.
    """
    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    for _ in range(3):
        run.run(run.prepare())
    best: dict[Entry, tuple[float, int]] = {}
    wall = float("inf")
    for _ in range(rounds):
        prepared = run.prepare()
        _wait(device)
        with profile(activities=activities, record_shapes=not kernels) as seen:
            run.run(prepared)
            _wait(device)
        found = _kernels(seen) if kernels else _operators(seen, on_gpu)
        for entry, (ms, calls) in found.items():
            best[entry] = min(best.get(entry, (ms, calls)), (ms, calls))
        wall = min(wall, _wall_ms(run, device)) if on_gpu else 0.0
    rows = by_category(best, lambda entry: entry.kernel if kernels else entry.operator)
    busy = sum(row["ms"] for row in rows)
    if on_gpu:
        rows.append({"category": HOST, "ms": max(0.0, wall - busy), "calls": 0})
    return rows


def by_category(
    entries: dict[Entry, tuple[float, int]], category: Callable[[Entry], str]
) -> list[dict[str, Any]]:
    """Rows of category, ms and calls, with the entries that make most of each."""
    groups: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for entry, (ms, calls) in entries.items():
        groups[category(entry)].append((ms, calls, entry.name))
    return [
        {
            "category": name,
            "ms": sum(ms for ms, _, _ in members),
            "calls": sum(calls for _, calls, _ in members),
            "mostly": _names(members),
        }
        for name, members in groups.items()
    ]


def _names(members: Sequence[tuple[float, int, str]]) -> list[str]:
    return list(dict.fromkeys(name[:80] for _, _, name in sorted(members, reverse=True)))[:3]


def _operators(seen: Any, on_gpu: bool) -> dict[Entry, tuple[float, int]]:
    found: dict[Entry, tuple[float, int]] = {}
    for event in seen.key_averages(group_by_input_shape=True):
        if event.device_type != DeviceType.CPU:
            continue  # a kernel; its time is its operator's too
        shapes = tuple(tuple(s) if isinstance(s, list) else () for s in event.input_shapes)
        us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if us:
            found[Entry(event.key, shapes)] = (us / 1e3, event.count)
    return found


def _kernels(seen: Any) -> dict[Entry, tuple[float, int]]:
    found: dict[Entry, tuple[float, int]] = {}
    for event in seen.key_averages():
        if event.device_type != DeviceType.CPU:
            found[Entry(event.key)] = (event.self_device_time_total / 1e3, event.count)
    return found


def _wall_ms(run: Run, device: str) -> float:
    prepared = run.prepare()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    _wait(device)
    start.record()
    run.run(prepared)
    end.record()
    _wait(device)
    return float(start.elapsed_time(end))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
