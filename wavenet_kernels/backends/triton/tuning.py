"""Block sizes, warps and stages for every kernel, by architecture, dtype and channels.

tuning.json holds what was chosen for sizes that people use, and on what grounds; any other size
goes by the rules below, which keep accumulators in registers and operands in shared memory. No
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
    return RULES[kernel](dtype.itemsize == 2, **sizes)


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
    tried = [{"BLOCK_T": rows * 2}, {"BLOCK_T": rows // 2}, {"num_warps": 12 - warps}]
    return [way for way in tried if 16 <= way.get("BLOCK_T", 16) <= 256]


def _layer(half: bool, R: int, D: int, S: int, K: int) -> Config:
    # Filter and gate are 2 BLOCK_T x BLOCK_D sums: 64 registers a thread, 128 for wide layers,
    # whose weights are so many that each should serve many rows. (fp32 products, which go without
    # tensor cores, keep operands in registers too.)
    block_d = block(D)
    sums = (8192 if block_d < 256 else 16384) if half else 1024
    block_t = max(16, min(128, sums // block_d))
    return {
        "BLOCK_T": block_t,
        "BLOCK_R": block(R, 64 if half and block_d <= 128 else 32 if half else 16),
        "BLOCK_D": block_d,
        "BLOCK_O": block(max(R, S), 64 if half and block_d <= 128 else 32 if half else 16),
        "num_warps": 8 if block_d >= (64 if half else 128) else 4,
        "num_stages": 2,
    }


def _convolution(half: bool, R: int, C: int, K: int) -> Config:
    return {
        "BLOCK_T": 128 if half else 32,
        "BLOCK_R": block(R, 32),
        "BLOCK_C": block(C, 128 if half else 64),
        "num_warps": 8 if half and C > 64 else 4,
        "num_stages": 3 if half else 2,
    }


def _gate_gradient(half: bool, R: int, D: int, S: int, K: int) -> Config:
    # Filter, gate and gz: three BLOCK_T x BLOCK_D sums.
    return {
        "BLOCK_T": 64 if half else 16,
        "BLOCK_R": block(R, 32 if half else 16),
        "BLOCK_D": block(D, 64 if half else 32),
        "BLOCK_O": block(max(R, S), 32 if half else 16),
        "num_warps": 8 if half and D > 32 else 4,
        "num_stages": 2,
    }


def _weight_gradient(half: bool, M: int, N: int, K: int) -> Config:
    return {
        "BLOCK_T": 64 if half else 32,
        "BLOCK_M": block(M, 128 if half else 32),
        "BLOCK_N": block(N, 128 if half else 32),
        "num_warps": 8 if half and M > 64 else 4,
        "num_stages": 3 if half else 2,
    }


def _layer_gradient(half: bool, R: int, D: int, S: int, K: int) -> Config:
    # One stage: the ring's rows must not be asked for before they are written.
    return {
        "BLOCK_T": 64 if gradient_sums(R, D, S, K) <= 16 * 1024 else 32,
        "BLOCK_R": block(R),
        "BLOCK_D": block(D),
        "BLOCK_S": block(max(S, 1)),
        "num_warps": 8 if D > 16 else 4,
        "num_stages": 1,
    }


RULES: dict[str, Callable[..., Config]] = {
    "layer": _layer,
    "convolution": _convolution,
    "gate_gradient": _gate_gradient,
    "weight_gradient": _weight_gradient,
    "layer_gradient": _layer_gradient,
}
