"""The source tree and the programs that build it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import programs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def cmake() -> str:
    return programs.cmake()


@pytest.fixture(scope="session")
def configure(cmake):
    """`configure(folder, **definitions)` runs CMake on the tree; returns the finished process."""

    def run(build: Path, **definitions: str) -> subprocess.CompletedProcess[str]:
        options = {
            "Python_EXECUTABLE": sys.executable,
            "WAVENET_KERNELS_OUTPUT_DIR": str(build / "modules"),
            **definitions,
        }
        return subprocess.run(
            [cmake, "-S", str(ROOT), "-B", str(build), *(f"-D{k}={v}" for k, v in options.items())],
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def build(configure, cmake):
    """`build(folder, target, **definitions)` makes a target of the CPU's from the tree."""

    def run(folder: Path, target: str, **definitions: str) -> None:
        configured = configure(folder, WAVENET_KERNELS_CUDA="0", **definitions)
        assert configured.returncode == 0, configured.stderr
        programs.run(cmake, "--build", str(folder), "--target", target)

    return run


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """A copy of the sources as a fresh clone would have them: no builds, no environments."""
    copy = tmp_path_factory.mktemp("tree") / "wavenet-kernels"
    left_out = shutil.ignore_patterns(
        ".git",
        ".venv",
        "build",
        "dist",
        "runs",
        "tests",
        "*.so",
        "*.egg-info",
        "__pycache__",
        ".*_cache",
    )
    shutil.copytree(ROOT, copy, ignore=left_out)
    return copy
