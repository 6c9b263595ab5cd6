"""The CUDA kernels under AddressSanitizer and UBSan: no access outside of any tensor."""

from __future__ import annotations

import subprocess
import sys

import pytest
import simt_build

pytestmark = pytest.mark.slow

# Every kernel, in 16 and in 32 bits; the fused backward and weights that go round among them.
TESTS = (
    "test_small and (bfloat16 or float32) and not T97",
    "test_chunks_of_any_sizes_are_the_whole and bfloat16-2",
)


@pytest.mark.skipif(simt_build.obstacle() is not None, reason=str(simt_build.obstacle()))
def test_kernels_stay_inside_their_tensors():
    simt_build.build(sanitize=True)
    expression = " or ".join(f"({t})" for t in TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [*command, "tests/wavenet_kernels/test_cuda_kernels.py", "-k", expression],
        cwd=simt_build.ROOT,
        env={**simt_build.sanitized_environment(), "WAVENET_SIMT_SANITIZE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert " passed" in done.stdout
