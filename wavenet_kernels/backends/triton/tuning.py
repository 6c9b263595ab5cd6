"""Block sizes, warps and stages for every kernel, by architecture, dtype and channels.

tuning.json holds what was chosen for sizes that people use, and on what grounds; any other size
goes by the rules below: what spills no register on any chip (tests/sass/triton_sweep.py), and is
fastest on sm_90 by a model of it (`python -m benchmarks model tune`; benchmarks/NOTES.md). No
kernel is tuned while it is used: `python -m benchmarks triton-tuning` measures candidates on a
device and writes such a table; WAVENET_KERNELS_TRITON_TABLE names one that is looked into first.

Calibration starts from what these say and tries a few `neighbours` on the user's device: what it
decides on is `adjusted` around the calls that it was decided for.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

Config = dict[str, int]

# Sums of `layer_gradient_kernel` that a program's registers hold beside the rest (float32 each).
MOST_GRADIENT_SUMS = 32 * 1024

# Chips whose tensor cores find operands in shared memory, of which there are 227 KiB, and leave
# registers for the rest. Others have 99 KiB, or 163.
ROOMY = ("sm_90", "sm_100")

MOST_CHANNELS = 512  # of a block: of D always, as a program has all gates of its rows


def gradient_sums(R: int, D: int, S: int, K: int) -> int:
    """Sums over rows that a layer's backward makes, in whole blocks."""
    return (2 * K * block(R) + block(R) + (block(S) if S else 0)) * block(D)


def block(channels: int, most: int = MOST_CHANNELS) -> int:
    """The block that holds this many channels: a power of two from 16, what tl.dot takes."""
    return min(max(16, 1 << (channels - 1).bit_length()), most)


@functools.cache
def table() -> list[dict[str, Any]]:
    """The rows of the user's table, if there is one, and of tuning.json."""
    texts = [resources.files(__package__).joinpath("tuning.json").read_text(encoding="utf-8")]
    if named := os.environ.get("WAVENET_KERNELS_TRITON_TABLE"):
        texts.insert(0, Path(named).read_text(encoding="utf-8"))
    return [row for text in texts for row in json.loads(text)["rows"]]


@functools.cache
def choose(kernel: str, architecture: str, dtype: torch.dtype, **sizes: int) -> Config:
    """The configuration of a kernel, by its table or its rule."""
    name = str(dtype).removeprefix("torch.")
    for row in table():
        same = (row["kernel"], row["arch"], row["sizes"]) == (kernel, architecture, sizes)
        if same and name in row["dtypes"]:
            return dict(row["config"])
    return RULES[kernel](dtype.itemsize == 2, architecture in ROOMY, **sizes)


# What to change of the chosen configuration, by kernel.
_changes: ContextVar[Mapping[str, Config]] = ContextVar("changes", default=MappingProxyType({}))


@contextmanager
def adjusted(changes: Mapping[str, Config]) -> Iterator[None]:
    """Inside, in this thread, the kernels named are launched with these changes."""
    token = _changes.set(changes)
    try:
        yield
    finally:
        _changes.reset(token)


def changes(kernel: str) -> Config:
    """What of the kernel's configuration is adjusted now."""
    return _changes.get().get(kernel, {})


def neighbours(kernel: str, config: Config) -> list[Config]:
    """Changes that are worth trying: half and twice the rows of a block, other warps."""
    rows, warps = config["BLOCK_T"], config["num_warps"]
    # Registers are shared out among a block's warps: fewer rows of it need fewer.
    other = 4 if warps == 8 else 8
    tried = [{"BLOCK_T": rows * 2}, {"BLOCK_T": rows // 2}, {"num_warps": other}]
    return [way for way in tried if 16 <= way.get("BLOCK_T", 16) <= 256]


def _layer(half: bool, roomy: bool, R: int, D: int, S: int, K: int) -> Config:
    """Few rows and no stages where layers are narrow: many small blocks hide each other's waits.

    Of wide ones, whose weights are many, each block serves as many rows as its registers hold
    filter and gate of, 2 BLOCK_T x BLOCK_D sums, beside conditioning and addresses.
    """
    block_d = block(D)
    if not half:  # products go without tensor cores, and keep operands in registers
        return {
            "BLOCK_T": max(16, min(128, 1024 // block_d)),
            "BLOCK_R": block(R, 16),
            "BLOCK_D": block_d,
            "BLOCK_O": block(max(R, S), 16),
            "num_warps": 8 if block_d >= 128 else 4,
            "num_stages": 2,
        }
    if block_d <= 64 or (roomy and block_d == 128):
        return {
            "BLOCK_T": 64,
            "BLOCK_R": block(R, 64),
            "BLOCK_D": block_d,
            "BLOCK_O": block(max(R, S), max(32, block_d)),
            "num_warps": 4 if block_d <= 64 else 8,
            "num_stages": 1,
        }
    gated = 16384 if roomy else 8192 if D == block_d else 4096  # of a block; masks take registers
    return {
        "BLOCK_T": min(64, gated // block_d),
        "BLOCK_R": block(R, 32),
        "BLOCK_D": block_d,
        "BLOCK_O": block(max(R, S), 64 if roomy or D == block_d else 32),
        "num_warps": 8 if roomy else 16,
        "num_stages": 3 if roomy else 2,
    }


def _convolution(half: bool, roomy: bool, R: int, C: int, K: int) -> Config:
    many = half and roomy  # small blocks at once, as of a layer
    return {
        "BLOCK_T": 64 if many else 128 if half else 32,
        "BLOCK_R": block(R, 32),
        "BLOCK_C": block(C, 128 if half else 64),
        "num_warps": 8 if half and C > 64 else 4,
        "num_stages": 1 if many else 3 if half else 2,
    }


def _gate_gradient(half: bool, roomy: bool, R: int, D: int, S: int, K: int) -> Config:
    # Filter, gate and gz: three BLOCK_T x BLOCK_D sums.
    many = half and roomy
    most = 64 if many else 32 if half else 16
    return {
        "BLOCK_T": 64 if half else 16,
        "BLOCK_R": block(R, most),
        "BLOCK_D": block(D, 64 if half else 32),
        "BLOCK_O": block(max(R, S), most),
        "num_warps": 8 if half and D > 32 and not many else 4,
        "num_stages": 1 if many else 2,
    }


def _weight_gradient(half: bool, roomy: bool, M: int, N: int, K: int) -> Config:
    return {
        "BLOCK_T": 64 if half else 32,
        "BLOCK_M": block(M, 128 if half else 32),
        "BLOCK_N": block(N, 128 if half else 32),
        "num_warps": 8 if half and M > 64 else 4,
        "num_stages": 3 if half else 2,
    }


def _layer_gradient(half: bool, roomy: bool, R: int, D: int, S: int, K: int) -> Config:
    # One stage: the ring's rows must not be asked for before they are written. Four warps: then two
    # programs share a multiprocessor.
    sums = gradient_sums(R, D, S, K)
    whole = all(channels in (0, block(channels)) for channels in (R, D, S))  # needs no masks
    if not whole:
        rows = 16
    elif roomy:
        rows = 16 if sums <= 8 * 1024 else 64 if sums <= 16 * 1024 else 32
    else:
        rows = 32 if sums <= 16 * 1024 else 16
    return {
        "BLOCK_T": rows,
        "BLOCK_R": block(R),
        "BLOCK_D": block(D),
        "BLOCK_S": block(max(S, 1)),
        "num_warps": 4 if sums <= 8 * 1024 else 8,
        "num_stages": 1,
    }


RULES: dict[str, Callable[..., Config]] = {
    "layer": _layer,
    "convolution": _convolution,
    "gate_gradient": _gate_gradient,
    "weight_gradient": _weight_gradient,
    "layer_gradient": _layer_gradient,
}
