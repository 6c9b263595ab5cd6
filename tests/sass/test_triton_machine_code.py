"""Runs triton_cases.py, in a process in which Triton compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import executor
import pytest
from machine_code import FOLDER, ROOT

CASES = Path(__file__).with_name("triton_cases.py")


@pytest.mark.skipif(executor.obstacle() is not None, reason=str(executor.obstacle()))
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_triton_cases(arch):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [*command, str(CASES), "-k", arch],
        cwd=ROOT,
        env={
            **os.environ,
            "TRITON_INTERPRET": "0",
            "TRITON_CACHE_DIR": str(FOLDER / "triton"),
            "TRITON_DEFAULT_FP_FUSION": "1",  # the default, of which Triton 3.9 warns
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert " passed" in done.stdout
