"""What a measurement is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.operators.contenders import Stack, chosen, stacks
from benchmarks.operators.workloads import (
    GPU_WORKLOADS,
    STREAMS,
    WORKLOADS,
    StreamWorkload,
    Workload,
    for_gpu,
    parse,
)

PASSES = ("forward", "backward", "step")


@dataclass(frozen=True)
class Options:
    """Of a command line.

    Attributes:
        device: "cpu" or "cuda".
        dtype: of all tensors.
        rounds: measurements of each contender.
        workloads: names, or descriptions as `workloads.parse` takes them; empty: all.
        contenders: names; empty: all.
        passes: of a stack: "forward", "backward" alone, "step" (both).
        longest: signal in samples to which scaling goes.
        processes: of each contender whose first calls are measured.
        copied: bytes of the copy whose rate is a ceiling.
        every_stack: who may be named; None: all that there are.
    """

    device: str
    dtype: torch.dtype
    rounds: int = 20
    workloads: Sequence[str] = ()
    contenders: Sequence[str] = ()
    passes: Sequence[str] = PASSES
    longest: int = 1_000_000
    processes: int = 3
    copied: int = 1 << 28
    every_stack: Mapping[str, Stack] | None = None

    def contending_stacks(self) -> dict[str, Stack]:
        """The contenders that are chosen, by name."""
        every = stacks(self.device) if self.every_stack is None else self.every_stack
        return chosen(every, self.contenders)

    def stacks(self) -> list[Workload]:
        """The workloads that are chosen, at the size for the device."""
        named = {w.name: w for w in WORKLOADS}
        if self.device == "cuda":
            named = {w.name: w for w in (*map(for_gpu, WORKLOADS), *GPU_WORKLOADS)}
        if not self.workloads:
            return list(named.values())
        described = [text for text in self.workloads if "=" in text]
        return [named[n] for n in self.workloads if n in named] + [parse(t) for t in described]

    def streams(self) -> list[StreamWorkload]:
        """The streams that are chosen; a described workload's T is its chunk."""
        named = {w.name: w for w in STREAMS}
        if not self.workloads:
            return list(named.values())
        described = [StreamWorkload(text, parse(text)) for text in self.workloads if "=" in text]
        return [named[n] for n in self.workloads if n in named] + described

    def one(self) -> Workload:
        """The one that is looked at closely: the first chosen, "reference" where all are."""
        return (self.stacks() or [WORKLOADS[0]])[0]
