"""Where a pass goes as torch sees it: operators of eager PyTorch, or the kernels of a GPU.

A fused kernel is one entry whatever it does inside; which products and gates share it is in its
category's name.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

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


class _Clock(TorchDispatchMode):
    """Milliseconds of the processor's time by operator: waiting for a processor is none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Entry, tuple[float, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        start = time.thread_time_ns()
        result = func(*args, **(kwargs or {}))
        ms = (time.thread_time_ns() - start) / 1e6
        shapes = tuple(tuple(a.shape) if isinstance(a, torch.Tensor) else () for a in args)
        entry = Entry(func._schema.name, shapes)
        before, calls = self.found.get(entry, (0.0, 0))
        self.found[entry] = (before + ms, calls + 1)
        return result


def by_operator(run: Callable[[], object], rounds: int) -> list[dict[str, Any]]:
    """Rows of what runs on this thread of a CPU; the fastest of the rounds counts."""
    best: dict[Entry, tuple[float, int]] = {}
    for _ in range(1 + rounds):
        with _Clock() as clock:
            run()
        _keep_fastest(best, clock.found)
    return by_category(best, lambda entry: entry.operator)


def on_gpu(run: Run, *, kernels: bool, rounds: int) -> list[dict[str, Any]]:
    """Rows of a pass on a GPU, as torch's profiler sees it; the fastest of the rounds counts.

    `kernels`: by the names of kernels instead of those of operators. The host's share is the time
    in which no kernel runs.
    """
    for _ in range(3):
        run.run(run.prepare())
    best: dict[Entry, tuple[float, int]] = {}
    wall = float("inf")
    for _ in range(rounds):
        prepared = run.prepare()
        torch.cuda.synchronize()
        with profile(
            activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=not kernels
        ) as seen:
            run.run(prepared)
            torch.cuda.synchronize()
        _keep_fastest(best, _entries(seen, kernels))
        wall = min(wall, _wall_ms(run))
    rows = by_category(best, lambda entry: entry.kernel if kernels else entry.operator)
    busy = sum(row["ms"] for row in rows)
    return [*rows, {"category": HOST, "ms": max(0.0, wall - busy)}]


def _keep_fastest(
    best: dict[Entry, tuple[float, int]], found: dict[Entry, tuple[float, int]]
) -> None:
    for entry, measured in found.items():
        best[entry] = min(best.get(entry, measured), measured)


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


def _entries(seen: Any, kernels: bool) -> dict[Entry, tuple[float, int]]:
    found: dict[Entry, tuple[float, int]] = {}
    for event in seen.key_averages(group_by_input_shape=not kernels):
        # A kernel's time is its operator's too.
        if (event.device_type != DeviceType.CPU) == kernels and event.self_device_time_total:
            shapes = tuple(
                tuple(s) if isinstance(s, list) else () for s in event.input_shapes or ()
            )
            ms = event.self_device_time_total / 1e3
            found[Entry(event.key, () if kernels else shapes)] = (ms, event.count)
    return found


def _wall_ms(run: Run) -> float:
    prepared = run.prepare()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run.run(prepared)
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))
