"""Runs decoded kernels by engine/, which is compiled into build/sass when it has changed.

`run` executes a launch; `trace` a block of it, and tells what each of its warps did.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import decoder
import numpy as np
from machine_code import FOLDER, Kernel

ENGINE = Path(__file__).resolve().parent / "engine"
_COMPILE = ["g++", "-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno"]
_COMPILE += ["-Wall", "-fPIC", "-shared"]
_STACK_END = 16384  # kLocalBytes of engine/memory.cpp
_STACK_POINTER = 0x28  # in constant bank 0: where the stack ends
_NUMBERS = ("lanes", "sectors", "lines", "wavefronts", "jumps", "unused")
STEP = np.dtype([("place", "u4"), ("sector", "u4"), *((name, "u2") for name in _NUMBERS)])
"""As engine/trace.h has it: one instruction of a warp."""


class ExecutionError(Exception):
    """What ended a launch, or the data races in it."""


@dataclass(frozen=True)
class Launch:
    """What a backend's host asks for; its kernel is decoded when it is loaded."""

    name: str
    load: Callable[[], Kernel]
    grid: tuple[int, int, int]
    threads: tuple[int, int, int]
    shared_bytes: int
    parameters: bytes


@dataclass(frozen=True)
class Launched:
    """A kernel that has run, and how often warps executed each of its instructions."""

    kernel: Kernel
    executed: list[int]

    def places(self, pattern: str) -> list[int]:
        """Of instructions with such a text that were executed."""
        texts = enumerate(self.kernel.text)
        return [i for i, text in texts if self.executed[i] and re.search(pattern, text)]


@dataclass(frozen=True)
class Race:
    """Two accesses of which neither happens before the other."""

    what: str
    kernel: Kernel
    place: int
    other: int  # the place of the earlier one
    block: int
    warp: int
    lane: int
    other_block: int
    other_warp: int
    other_lane: int
    address: int

    def __str__(self) -> str:
        def at(place: int) -> str:
            return f"{16 * place:#06x}: {self.kernel.text[place]}"

        return (
            f"{self.what} at {self.address:#x}\n"
            f"    block {self.block - 1} warp {self.warp} lane {self.lane}  {at(self.place)}\n"
            f"    block {self.other_block - 1} warp {self.other_warp} lane {self.other_lane}  "
            f"{at(self.other)}"
        )


def obstacle() -> str | None:
    """Why nothing can be run here, or None."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    try:
        import triton  # noqa: F401
    except ImportError:
        return "triton, which brings nvdisasm, is not installed"
    return None


def run(
    kernel: Kernel,
    grid: tuple[int, int, int],
    threads: tuple[int, int, int],
    shared_bytes: int,
    parameters: bytes,
) -> list[int]:
    """Executes a launch on this process's memory; returns how often warps did each instruction.

    Raises ExecutionError if something goes wrong, or has a data race.
    """
    return _execute(kernel, grid, threads, shared_bytes, parameters, -1)


def trace(
    kernel: Kernel,
    grid: tuple[int, int, int],
    threads: tuple[int, int, int],
    shared_bytes: int,
    parameters: bytes,
    block: int,
) -> list[np.ndarray]:
    """Executes one block, by its number; returns what each warp did, as STEPs. Raises as `run`."""
    _execute(kernel, grid, threads, shared_bytes, parameters, block)
    warps = []
    for warp in range(-(-threads[0] * threads[1] * threads[2] // 32)):
        start = ctypes.c_void_p()
        steps = _engine().sass_steps(warp, ctypes.byref(start))
        warps.append(np.frombuffer(ctypes.string_at(start, steps * STEP.itemsize), STEP))
    return warps


def _execute(
    kernel: Kernel,
    grid: tuple[int, int, int],
    threads: tuple[int, int, int],
    shared_bytes: int,
    parameters: bytes,
    block: int,
) -> list[int]:
    """The launch, or unless it is -1 that block of it."""
    if len(parameters) != kernel.parameter_bytes:
        raise ExecutionError(
            f"{kernel.name}: {len(parameters)} bytes of parameters; "
            f"it takes {kernel.parameter_bytes}"
        )
    banks = {number: bytearray(data) for number, data in kernel.constants.items()}
    struct.pack_into("<6I", banks[0], 0, *threads, *grid)
    struct.pack_into("<I", banks[0], _STACK_POINTER, _STACK_END)
    start = kernel.parameters_at
    banks[0][start : start + len(parameters)] = parameters
    data = [bytes(banks[number]) for number in range(8)]
    executed, lines = (ctypes.c_uint64 * len(kernel.text))(), ctypes.c_char_p()
    error = _engine().sass_run(
        kernel.code,
        len(kernel.text),
        (ctypes.c_uint32 * 3)(*grid),
        (ctypes.c_uint32 * 3)(*threads),
        shared_bytes,
        kernel.shared_base,
        (ctypes.c_char_p * 8)(*data),
        (ctypes.c_uint32 * 8)(*map(len, data)),
        ctypes.c_int64(block),
        executed,
        ctypes.byref(lines),
    )
    assert lines.value is not None
    found = []
    for line in lines.value.decode().splitlines():
        what, *numbers = line.split("\t")
        found.append(str(Race(what, kernel, *map(int, numbers))))
    if error is not None:
        found.insert(0, error.decode())
    if found:
        raise ExecutionError("\n".join([kernel.name, *found]))
    return list(executed)


@functools.cache
def _engine() -> ctypes.CDLL:
    sources = sorted(ENGINE.glob("*.cpp"))
    header = decoder.header()
    parts = [header, " ".join(_COMPILE), *(p.read_text() for p in sorted(ENGINE.iterdir()))]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    made = FOLDER / f"engine-{key}.so"
    if not made.exists():
        include = FOLDER / f"include-{key}-{os.getpid()}"
        include.mkdir(parents=True)
        (include / "operations.h").write_text(header)
        new = include / made.name
        command = [*_COMPILE, f"-I{include}", *map(str, sources), "-o", str(new)]
        subprocess.run(command, check=True)
        os.replace(new, made)
        shutil.rmtree(include)
    engine = ctypes.CDLL(str(made))
    engine.sass_run.restype = ctypes.c_char_p
    engine.sass_steps.restype = ctypes.c_uint64
    return engine
