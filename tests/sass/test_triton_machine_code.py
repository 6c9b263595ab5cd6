"""Runs triton_cases.py and triton_sweep.py, in processes in which Triton compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import executor
import pytest
from machine_code import FOLDER, ROOT
from sass_cases import ALL

HERE = Path(__file__).parent


@pytest.mark.skipif(executor.obstacle() is not None, reason=str(executor.obstacle()))
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_triton_cases(arch):
    run("triton_cases.py", arch)


@pytest.mark.skipif(executor.obstacle() is not None, reason=str(executor.obstacle()))
@pytest.mark.slow
@pytest.mark.parametrize("part", range(3 if ALL else 1))
def test_triton_sweep(part):
    """In parts, that several processes may compile at once."""
    run("triton_sweep.py", f"part{part}")


def run(file: str, selected: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [*command, str(HERE / file), "-k", selected],
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
