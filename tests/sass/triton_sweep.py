"""Every Triton launch compiles for any sizes, fits into shared memory, and hardly spills registers.

What is shipped as working on any shape is compiled on awkward ones: no skip, odd channels and taps,
tiny, wide, skip wider or narrower than the rest; forward, backward, streams, conditioning, without
biases, the other operators. test_triton_machine_code.py runs this in a process of its own, with
TRITON_INTERPRET=0.
"""

from __future__ import annotations

from typing import Any

import pytest
from sass_cases import ALL

from benchmarks.compiled import triton_kernels
from benchmarks.operators.workloads import Workload

# R, D, S, K.
SIZES = [
    (33, 17, 65, 1), (20, 40, 10, 3), (64, 128, 128, 1), (5, 3, 2, 2), (80, 80, 0, 3),
    (48, 40, 24, 2), (16, 16, 16, 3), (64, 32, 48, 2), (30, 30, 30, 3), (64, 64, 0, 2),
    (32, 64, 64, 3), (64, 64, 256, 2), (128, 64, 128, 2), (128, 128, 256, 2), (64, 64, 128, 5),
    (256, 256, 512, 3), (512, 512, 512, 3), (1, 1, 1, 1), (300, 100, 500, 2),
]  # fmt: skip
EVERY = [
    (sizes, arch, dtype)
    for sizes in SIZES
    for arch in (80, 90, 100, 120)
    for dtype in triton_kernels.DTYPES
    if dtype in ("bfloat16", "float32") or arch == 80  # others differ in nothing but the type
]
# One that spilled; what didn't compile was of such sizes, too.
FEW = [((20, 40, 10, 3), 120, "bfloat16")]
PARTS = 3 if ALL else 1
FEW_BYTES = 16  # a thread, that ptxas may spill so that one more block fits


def _cases() -> list[Any]:
    cases = []
    for n, (sizes, arch, dtype) in enumerate(EVERY if ALL else FEW):
        symbols = "".join(f"{s}{size}" for s, size in zip("RDSK", sizes, strict=True))
        name = f"part{n % PARTS}-{symbols}-sm_{arch}-{dtype}"
        cases.append(pytest.param(sizes, arch, dtype, id=name))
    return cases


@pytest.mark.parametrize(("sizes", "arch", "dtype"), _cases())
def test_compiles(sizes, arch, dtype):
    residual, gated, skip, taps = sizes
    padding = "same" if taps % 2 else "causal"
    workload = Workload("", residual, gated, skip, taps, (1, 64), 2, 300, padding)
    limit = triton_kernels.CHIPS[arch][0] << 10
    wrong = []
    for launch in triton_kernels.launches(workload, dtype, arch, every_call=ALL):
        name = f"{launch.kernel.__name__} of {launch.num_warps} warps {launch.constants}"
        try:
            made = triton_kernels.measure(launch, arch)
        except Exception as problem:
            wrong.append(f"{name}: {str(problem).strip().splitlines()[-1]}")
            continue
        if made.shared > limit:
            wrong.append(f"{name}: {made.shared} bytes of shared memory, of {limit}")
        if made.spilled > FEW_BYTES:
            wrong.append(f"{name}: {made.spilled} bytes spilled at {made.registers} registers")
    assert not wrong, "\n".join(wrong)
