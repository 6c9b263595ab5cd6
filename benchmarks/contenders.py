"""Who is measured: each contender is a residual stack with the signature of the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import wavenet_kernels
from wavenet_kernels import backends, reference

Stack = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def contenders(device: str, wanted: list[str] | None = None) -> dict[str, Stack]:
    """By name: eager Conv1d (twice, which shows the noise), torch.compile, and our backends."""
    every: dict[str, Stack] = {
        "eager": reference.residual_stack,
        "compile": torch.compile(reference.residual_stack),
    }
    if device == "cuda":
        every["compile max-autotune"] = torch.compile(reference.residual_stack, mode="max-autotune")
    for name in wavenet_kernels.available_backends():
        elsewhere = name == "cpu" and device != "cpu"
        if hasattr(backends.load(name), "residual_stack") and not elsewhere:
            every[f"ours {name}"] = _on(name)
    every["eager again"] = reference.residual_stack
    unknown = set(wanted or ()) - set(every)
    if unknown:
        raise SystemExit(f"--contenders {sorted(unknown)}: there are {list(every)}")
    return {name: stack for name, stack in every.items() if not wanted or name in wanted}


def _on(backend: str) -> Stack:
    def stack(*tensors: Any, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
        with wavenet_kernels.use_backend(backend):
            return wavenet_kernels.residual_stack(*tensors, **settings)

    return stack
