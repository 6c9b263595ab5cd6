"""The C++ test program of the CPU kernels, under AddressSanitizer and UBSan."""

from __future__ import annotations

import subprocess


def test_kernels_under_sanitizers(configure, cmake, tmp_path):
    configured = configure(
        tmp_path,
        WAVENET_KERNELS_CUDA="0",
        WAVENET_KERNELS_SANITIZE="address,undefined",
        CMAKE_BUILD_TYPE="RelWithDebInfo",
    )
    assert configured.returncode == 0, configured.stderr
    build = [cmake, "--build", str(tmp_path), "--target", "cpu_kernels_test", "--parallel", "2"]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    ran = subprocess.run([tmp_path / "cpu_kernels_test"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("all good\n")
