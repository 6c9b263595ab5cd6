"""`make gpu`, with programs that do nothing: what matters most first, what was stopped goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = "build check first predictions calibrate bench test sanitize profile tune".split()

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(tmp_path: Path, fails: str = "nothing") -> tuple[int, list[str], str]:
    """Its exit code, its parts in the order in which they ran, and what it said."""
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    for name in ("cmake", "python"):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\necho "$*" >> {log}\ncase "$*" in *"{fails}"*) exit 1;; esac\n'
        )
        program.chmod(0o755)
    done = subprocess.run(
        ["make", "gpu", "PYTHON=python", f"GPU_DONE={tmp_path / 'done'}"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    said = [line.partition("make gpu: ")[2] for line in done.stdout.splitlines()]
    return done.returncode, [part for part in said if part in PARTS], done.stdout + done.stderr


def test_what_matters_most_comes_first_and_is_not_done_again(tmp_path):
    code, parts, said = make(tmp_path)
    assert (code, parts) == (0, PARTS), said
    commands = (tmp_path / "log").read_text().splitlines()
    workloads = "--workloads small reference vocoder flow"
    first = next(index for index, line in enumerate(commands) if workloads in line)
    assert "compile" not in commands[first]  # which takes minutes
    assert "benchmarks predictions" in commands[first + 1]
    assert "benchmarks calibration --dtype bfloat16" in commands[first + 2]
    code, parts, said = make(tmp_path)
    assert (code, parts) == (0, []) and said.count("is done already") == len(PARTS)


def test_a_part_that_fails_is_named_and_done_again_alone(tmp_path):
    code, parts, said = make(tmp_path, fails="-m pytest")
    assert (code, parts) == (2, PARTS) and "failed: check test; again: make gpu" in said
    assert make(tmp_path)[:2] == (0, ["check", "test"])


def test_without_a_build_there_is_nothing_to_measure(tmp_path):
    code, parts, _ = make(tmp_path, fails="--build")
    assert (code, parts) == (2, ["build"])
