"""The C++ test program of the CPU kernels under sanitizers: of memory, and of threads."""

from __future__ import annotations

import subprocess

import pytest

import wavenet_kernels._cpu as _cpu

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_kernels_under_sanitizers(configure, cmake, tmp_path, sanitizers):
    configured = configure(
        tmp_path,
        WAVENET_KERNELS_CUDA="0",
        WAVENET_KERNELS_SANITIZE=sanitizers,
        CMAKE_BUILD_TYPE="Debug",
        # With AddressSanitizer -O2 takes seven times as long to compile.
        CMAKE_CXX_FLAGS_DEBUG="-Og -g1",
    )
    assert configured.returncode == 0, configured.stderr
    build = [cmake, "--build", str(tmp_path), "--target", "cpu_kernels_test", "--parallel", "2"]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    # Instruction sets differ in what a thread does, not in what threads share.
    isas = [_cpu.find_isa("")] if sanitizers == "thread" else []
    ran = _run(str(tmp_path / "cpu_kernels_test"), *isas)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("all good\n")
    assert not ran.stderr


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(command, capture_output=True, text=True)
    if "unexpected memory mapping" in ran.stderr and command[0] != "setarch":
        # ThreadSanitizer knows where memory lies only as long as its addresses are not too random.
        return _run("setarch", "--addr-no-randomize", *command)
    return ran
