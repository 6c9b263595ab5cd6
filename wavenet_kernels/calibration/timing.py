"""Timing of candidates in turn, and who has won.

Every candidate runs once a round, in another order each round, on a GPU with an L2 cache that holds
none of its tensors, as it is when a network comes back to a layer.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from wavenet_kernels.backends.contract import Backend
from wavenet_kernels.calibration import verify
from wavenet_kernels.call import Call, astuple

ROUNDS = 20
WARM_UP = 2
MARGIN = 0.05  # of the time, by which another candidate must be faster than what is used without it
STEADY = 0.75  # of the rounds, in which it must be
_FLUSHED = 1 << 28  # bytes, more than any L2 cache

Run = Callable[[], object]
Stopwatch = Callable[[str, Run], float]  # seconds that a candidate's run takes


def stopwatch(device: torch.device) -> Stopwatch:
    """Wall time until the device is done; what is cached of it is flushed before."""
    if device.type != "cuda":
        return _timed
    flushed = torch.empty(_FLUSHED, dtype=torch.int8, device=device)

    def timed(label: str, run: Run) -> float:
        flushed.zero_()
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return timed


def _timed(label: str, run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def run_of(backend: Backend, call: Call, *, step: bool) -> Run:
    """What a user waits for: a forward pass, and the backward pass too if it is a step."""
    saving = step and call.operator == "residual_stack"
    wanted = verify.wanted(call)

    def forward_alone() -> None:
        backend.forward(call, call.empty_outputs(saving=saving).present())

    if not step:
        return forward_alone
    every = verify.saving_every_input(call)
    outputs = every.empty_outputs(saving=saving).present()
    backend.forward(every, outputs)
    given = verify.gradients_of(outputs)

    def both() -> None:
        forward_alone()
        backend.backward(every, given, every.empty_gradients(wanted))

    return both


def interleave(
    runs: Mapping[str, Run], stopwatch: Stopwatch, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Seconds of every run in every round, after some rounds of warm-up."""
    order, shuffle = list(runs), random.Random(0).shuffle
    samples: dict[str, list[float]] = {label: [] for label in runs}
    for number in range(-WARM_UP, rounds):
        shuffle(order)
        for label in order:
            seconds = stopwatch(label, runs[label])
            if number >= 0:
                samples[label].append(seconds)
    return samples


def winner(samples: Mapping[str, Sequence[float]]) -> str:
    """The first, unless another is faster by the margin and steadily so; in order, for ties."""
    best, *others = samples
    for label in others:
        faster = [mine < its for mine, its in zip(samples[label], samples[best], strict=True)]
        gain = 1 - statistics.median(samples[label]) / statistics.median(samples[best])
        if gain >= MARGIN and sum(faster) >= STEADY * len(faster):
            best = label
    return best


def figures(samples: Sequence[float]) -> dict[str, float]:
    """Median, 10th and 90th percentile, in milliseconds."""
    ordered = [1e3 * sample for sample in sorted(samples)]
    return {
        "median_ms": round(statistics.median(ordered), 6),
        "p10_ms": round(ordered[len(ordered) // 10], 6),
        "p90_ms": round(ordered[len(ordered) * 9 // 10], 6),
    }


def bytes_needed(call: Call, *, step: bool) -> int:
    """About what timing a call allocates: its tensors again, outputs, gradients, working memory."""
    given = sum(t.numel() * t.element_size() for t in astuple(call.tensors) if t is not None)
    activation = call.tensors.x.numel() * call.tensors.x.element_size()
    layers = len(call.settings.dilations) if step else 2
    return 4 * given + (layers + 12) * activation
