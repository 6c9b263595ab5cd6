"""Who is measured: each contender is a residual stack with the signature of the reference.

A new one is a line in `contenders`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

import wavenet_kernels
from benchmarks.eager import residual_stack_rows
from wavenet_kernels import backends, reference

Stack = Callable[..., tuple[torch.Tensor, torch.Tensor]]
Contender = TypeVar("Contender")


def contenders(device: str, wanted: list[str] | None = None) -> dict[str, Stack]:
    """By name: eager PyTorch (Conv1d twice, which shows the noise), torch.compile, our backends."""
    every: dict[str, Stack] = {
        "eager": reference.residual_stack,
        "eager rows": residual_stack_rows,
        "compile": torch.compile(reference.residual_stack),
    }
    if device == "cuda":
        every["compile max-autotune"] = torch.compile(reference.residual_stack, mode="max-autotune")
    for name in wavenet_kernels.available_backends():
        elsewhere = name == "cpu" and device != "cpu"
        if hasattr(backends.load(name), "residual_stack") and not elsewhere:
            every[f"ours {name}"] = Ours(name)
            if name == "cpu":
                every["ours cpu, plain"] = Ours(name, {"WAVENET_KERNELS_CPU_FAST": "0"})
    every["eager again"] = reference.residual_stack
    return chosen(every, wanted)


def chosen(every: Mapping[str, Contender], wanted: list[str] | None) -> dict[str, Contender]:
    """Those that the command line names, all where it names none."""
    unknown = set(wanted or ()) - set(every)
    if unknown:
        raise SystemExit(f"--contenders {sorted(unknown)}: there are {list(every)}")
    return {name: contender for name, contender in every.items() if not wanted or name in wanted}


@dataclass(frozen=True)
class Ours:
    """The stack on a backend of ours, with environment variables that steer it throughout a run."""

    backend: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *tensors: Any, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
        with wavenet_kernels.use_backend(self.backend):
            return wavenet_kernels.residual_stack(*tensors, **settings)
