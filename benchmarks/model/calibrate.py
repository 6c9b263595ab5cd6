"""The model on kernels whose speed is known: Triton's matrix products and a vector addition."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from machine_code import FOLDER
from triton_machine_code import CompilingLauncher

from benchmarks.model import replay
from benchmarks.model.assumptions import CLOCK, CONSTANTS, MULTIPROCESSORS, SHARED_BYTES
from benchmarks.model.launches import ARCH, AlignedTensors
from benchmarks.model.predict import predict_launch

MATMUL_CLOCK = 1.755e9  # Hz, which an H100 keeps while it multiplies matrices


@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, c_ptr, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """C = A B of whole blocks, summed in float32."""
    program = tl.program_id(0)
    columns = tl.cdiv(N, BLOCK_N)
    m = program // columns * BLOCK_M + tl.arange(0, BLOCK_M)
    n = program % columns * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    a_ptr += m[:, None] * K + k[None, :]
    b_ptr += k[:, None] * N + n[None, :]
    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for _ in range(0, tl.cdiv(K, BLOCK_K)):
        sums = tl.dot(tl.load(a_ptr), tl.load(b_ptr), sums)
        a_ptr += BLOCK_K
        b_ptr += BLOCK_K * N
    tl.store(c_ptr + m[:, None] * N + n[None, :], sums.to(tl.bfloat16))


@triton.jit
def add_kernel(x_ptr, y_ptr, sum_ptr, count, BLOCK: tl.constexpr):
    """sum = x + y."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    values = tl.load(x_ptr + at, mask=mask) + tl.load(y_ptr + at, mask=mask)
    tl.store(sum_ptr + at, values, mask=mask)


@dataclass(frozen=True)
class Calibrated:
    """What the model says of a kernel, and what is known of it."""

    kernel: str
    predicted: float
    known: str
    unit: str

    def __str__(self) -> str:
        return f"{self.kernel}: predicted {self.predicted:.3g} {self.unit}, known {self.known}"


def calibrate() -> list[Calibrated]:
    """Kept in build/sass as long as nothing of the model changes."""
    constants = {name: constant.value for name, constant in CONSTANTS.items()}
    parts = [json.dumps(constants), replay.SOURCE.read_text(), triton.__version__]
    parts += [str(replay.KINDS), str((CLOCK, MULTIPROCESSORS, SHARED_BYTES, MATMUL_CLOCK))]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    kept = FOLDER / f"calibration-{key}.json"
    if not kept.exists():
        made = [asdict(result) for result in _calibrate()]
        new = kept.with_suffix(f".{os.getpid()}")
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(made))
        os.replace(new, kept)
    return [Calibrated(**row) for row in json.loads(kept.read_text())]


def _calibrate() -> list[Calibrated]:
    known = "550-650 of Triton on an H100"
    return [
        _product((128, 256, 64), 8, known),
        _product((128, 128, 64), 4, known),
        _addition(),
    ]


def _product(block: tuple[int, int, int], warps: int, known: str) -> Calibrated:
    M, N, K = 4096, 4096, 1024
    with AlignedTensors():
        a, b, c = (torch.zeros(*s, dtype=torch.bfloat16) for s in ((M, K), (K, N), (M, N)))
    blocks = dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), block, strict=True))
    grid = (M // block[0] * (N // block[1]),)
    options = {**blocks, "num_warps": warps, "num_stages": 3}
    launch = _launcher().compiled(matmul_kernel, grid, (a, b, c, N, K), options)
    # Neighbours read the same, so that operands come out of L2, and faster than of one alone.
    constants = {"dram_rate": 40.0, "dram_latency": 300.0, "l2_rate": 48.0}
    seconds = predict_launch(launch, constants=constants).microseconds / 1e6
    rate = 2 * M * N * K / seconds / 1e12 * MATMUL_CLOCK / CLOCK
    return Calibrated(f"matmul {'x'.join(map(str, block))}", rate, known, "TFLOP/s")


def _addition() -> Calibrated:
    count, block = 1 << 22, 1024
    with AlignedTensors():
        x, y, result = (torch.zeros(count) for _ in range(3))
    options = {"BLOCK": block, "num_warps": 4, "num_stages": 3}
    launch = _launcher().compiled(add_kernel, (count // block,), (x, y, result, count), options)
    seconds = predict_launch(launch).microseconds / 1e6
    memory = CONSTANTS["dram_rate"].value * MULTIPROCESSORS * CLOCK / 1e12
    return Calibrated("vector add", 12 * count / seconds / 1e12, f"{memory:.2g}: memory", "TB/s")


@functools.cache
def _launcher() -> Any:
    return CompilingLauncher(ARCH, MULTIPROCESSORS)
