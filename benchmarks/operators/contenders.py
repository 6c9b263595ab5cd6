"""Who is measured. A new contender is a line in `stacks` or `streams`.

One of a stack has the signature of `reference.residual_stack`. One of a stream is given weights,
dilations and batch, as `StackStream` is, and returns what is called with chunk after chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

import wavenet_kernels
from benchmarks.operators.eager import residual_stack_rows
from benchmarks.operators.eager_stream import StreamConv, StreamRing, StreamRows
from benchmarks.reporting.rows import AGAIN, EAGER, PLAIN
from wavenet_kernels import reference
from wavenet_kernels.nn import StackStream

Stack = Callable[..., tuple[Tensor, Tensor]]
Step = Callable[[Tensor], Sequence[Tensor]]
StreamMaker = Callable[..., Step]
Contender = TypeVar("Contender")


def stacks(device: str, wanted: Sequence[str] | None = None) -> dict[str, Stack]:
    """By name: eager PyTorch (Conv1d, and on rows), torch.compile, our backends."""
    every: dict[str, Stack] = {
        EAGER: reference.residual_stack,
        "eager rows": residual_stack_rows,
        "compile": torch.compile(reference.residual_stack),
        "compile max-autotune": torch.compile(reference.residual_stack, mode="max-autotune"),
    }
    for name in wavenet_kernels.available_backends():
        elsewhere = name == "cpu" and device != "cpu"
        if not elsewhere:
            every[f"ours {name}"] = Ours(name)
            if name == "cpu":
                every[PLAIN] = Ours(name, {"WAVENET_KERNELS_CPU_FAST": "0"})
    every[AGAIN] = reference.residual_stack
    return chosen(every, wanted)


def streams(device: str, chunk: int, wanted: Sequence[str] | None = None) -> dict[str, StreamMaker]:
    """By name: eager PyTorch in two forms, our operator and our class."""
    every: dict[str, StreamMaker] = {
        EAGER: StreamConv,
        "eager rows": StreamRing if chunk == 1 else StreamRows,
    }
    for name in ("cpu",) if device == "cpu" else ("triton", "cuda"):
        on = "" if device == "cpu" else f" {name}"
        if name in wavenet_kernels.available_backends():
            every[f"ours{on} operator"] = partial(_operator, name)
            every[f"ours{on} StackStream"] = partial(_stack_stream, name)
    every[AGAIN] = StreamConv
    return chosen(every, wanted)


def chosen(every: Mapping[str, Contender], wanted: Sequence[str] | None) -> dict[str, Contender]:
    """Those that the command line names, all where it names none."""
    return {name: contender for name, contender in every.items() if not wanted or name in wanted}


@dataclass(frozen=True)
class Ours:
    """The stack on a backend of ours, with environment variables that steer it throughout a run."""

    backend: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *tensors: Any, **settings: Any) -> tuple[Tensor, Tensor]:
        with wavenet_kernels.use_backend(self.backend):
            return wavenet_kernels.residual_stack(*tensors, **settings)


def _operator(backend: str, *weights: Tensor, dilations: Sequence[int], batch: int) -> Step:
    _, _, residual, taps = weights[0].shape
    state = weights[0].new_zeros(batch, (taps - 1) * sum(dilations), residual)

    def step(x: Tensor) -> Sequence[Tensor]:
        nonlocal state
        with wavenet_kernels.use_backend(backend):
            *outputs, state = wavenet_kernels.residual_stack_stream(
                x, state, *weights, dilations=dilations
            )
        return outputs

    return step


def _stack_stream(backend: str, *weights: Tensor, **settings: Any) -> Step:
    with wavenet_kernels.use_backend(backend):
        return StackStream(*weights, **settings)
