"""Microseconds of a layer, predicted: a few blocks of each launch are traced and replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import executor
import numpy as np
from executor import Launch
from machine_code import Kernel

from benchmarks.model.assumptions import (
    CLOCK,
    CONSTANTS,
    MULTIPROCESSORS,
    REGISTERS,
    SHARED_BYTES,
    SYSTEM_SHARED_BYTES,
    THREADS,
)
from benchmarks.model.launches import Pass, signature
from benchmarks.model.replay import Replayed, replay

POSITIONS = 512_000  # clips times samples, that a layer's time is given for
TIME = 16_000  # samples of a clip
BATCH = {"cuda": 8, "triton": 4}  # clips of what is traced
ROUNDS = 5  # of blocks, of a grid of more; the first two are left out of the time

# Of kernels that sum what each program of one before has left: they take as long for any number of
# positions, and find it in L2.
_FIXED = "sum_partials"
_FROM_L2 = {
    "dram_rate": CONSTANTS["l2_rate"].value,
    "dram_latency": CONSTANTS["l2_latency"].value,
}

Trace = list[np.ndarray]  # of a block's warps


@dataclass
class Predicted:
    """A launch, or several that differ only in where their tensors are."""

    launch: Launch
    microseconds: float
    registers: int
    resident: int  # blocks that a multiprocessor holds
    instructions: int  # of the blocks traced
    replayed: Replayed
    times: int = 0  # it is launched so often


@dataclass
class Prediction:
    """What a pass takes."""

    of: Pass
    launches: list[Predicted] = field(default_factory=list)

    @property
    def microseconds(self) -> float:
        """A layer, on average over the stack."""
        total = sum(launch.times * launch.microseconds for launch in self.launches)
        return total / len(self.of.workload.dilations)


def predict(
    of: Pass, constants: Mapping[str, float] | None = None, kernels: Sequence[str] = ("",)
) -> Prediction:
    """The pass on POSITIONS; of the launches whose kernels' names have one of the words."""
    batch = BATCH[of.backend]
    found: dict[Any, Predicted] = {}

    def take(launch: Launch, hot: list[tuple[int, int]]) -> None:
        if "pack_kernel" in launch.name or not any(word in launch.name for word in kernels):
            return
        key, fixed = signature(launch), _FIXED in launch.name
        scale = 1.0 if fixed else POSITIONS / (batch * TIME)
        if key not in found:
            of_it = {**_FROM_L2, **(constants or {})} if fixed else constants
            found[key] = predict_launch(launch, hot, scale, of_it)
        found[key].times += 1

    replace(of, workload=replace(of.workload, batch=batch, time=TIME)).run(take)
    return Prediction(of, list(found.values()))


def predict_launch(
    launch: Launch,
    hot: Sequence[tuple[int, int]] = (),
    scale: float = 1.0,
    constants: Mapping[str, float] | None = None,
) -> Predicted:
    """Its time, which is `scale` times what the launch as it is would take.

    Blocks that a multiprocessor holds go on together. If the grid is more than one round of them,
    each place has one block after another.
    """
    kernel = launch.load()
    blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
    resident = resident_blocks(launch, kernel)
    rounds = blocks / (MULTIPROCESSORS * resident)
    sizes = launch.grid, launch.threads, launch.shared_bytes, launch.parameters

    def traces(numbers: Sequence[int]) -> list[Trace]:
        return [executor.trace(kernel, *sizes, number) for number in numbers]

    def replayed(held: Sequence[Sequence[Trace]]) -> Replayed:
        places = [[np.concatenate(warp) for warp in zip(*some, strict=True)] for some in held]
        shared = len(places) * (launch.shared_bytes + SYSTEM_SHARED_BYTES)
        return replay(kernel, places, shared, hot, constants)

    if rounds <= 1:
        each = -(-blocks // MULTIPROCESSORS)
        first = min(blocks, MULTIPROCESSORS) // 2
        traced = traces([(first + i * MULTIPROCESSORS) % blocks for i in range(each)])
        whole = replayed([[trace] for trace in traced])
        cycles = whole.cycles
    else:
        number = min(ROUNDS * resident, blocks)
        traced = traces([(blocks - number) // 2 + i for i in range(number)])
        places = min(resident, number)
        whole = replayed([traced[i::places] for i in range(places)])
        seen = number / places
        if seen > 2:
            start = replayed([traced[i::places][:2] for i in range(places)])
            cycles = (whole.cycles - start.cycles) / (seen - 2) * rounds
        else:
            cycles = whole.cycles / seen * rounds
    steps = sum(len(warp) for trace in traced for warp in trace)
    seconds = cycles / CLOCK * scale
    return Predicted(launch, seconds * 1e6, kernel.registers, resident, steps, whole)


def resident_blocks(launch: Launch, kernel: Kernel) -> int:
    """How many a multiprocessor holds at once."""
    threads = launch.threads[0] * launch.threads[1] * launch.threads[2]
    registers = -(-kernel.registers // 8) * 8  # given out in eights
    return max(
        1,
        min(
            REGISTERS // (registers * threads),
            SHARED_BYTES // (launch.shared_bytes + SYSTEM_SHARED_BYTES),
            THREADS // threads,
        ),
    )
