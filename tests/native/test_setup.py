"""How setup.py calls CMake."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def build(root, tmp_path):
    """`build(**variables)` runs setup.py with a CMake that notes its arguments, one call a line."""
    shutil.copy(root / "setup.py", tmp_path)
    shutil.copy(root / "README.md", tmp_path)
    (tmp_path / "programs").mkdir()
    cmake = tmp_path / "programs" / "cmake"
    cmake.write_text('#!/bin/sh\necho "$@" >> "$NOTES"\n')
    cmake.chmod(0o755)
    notes = tmp_path / "notes.txt"
    ours = {"PATH": f"{cmake.parent}:{os.environ['PATH']}", "NOTES": str(notes)}
    unset = ("CMAKE_BUILD_PARALLEL_LEVEL", "MAX_JOBS")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}

    def run(*before: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        command = [*before, sys.executable, "setup.py", "-q", "build_ext"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**inherited, **ours, **variables},
            capture_output=True,
            text=True,
        )
        return done, notes.read_text().splitlines() if notes.exists() else []

    return run


@pytest.mark.parametrize(
    ("variables", "jobs"),
    [
        ({"MAX_JOBS": "3"}, 3),
        ({"CMAKE_BUILD_PARALLEL_LEVEL": "5"}, 5),
        ({"CMAKE_BUILD_PARALLEL_LEVEL": "5", "MAX_JOBS": "3"}, 5),
        ({"CMAKE_BUILD_PARALLEL_LEVEL": "", "MAX_JOBS": "3"}, 3),
    ],
)
def test_the_environment_says_how_many_compilers_run(build, variables, jobs):
    done, (configured, built) = build(**variables)
    assert done.returncode == 0, done.stderr
    assert configured.startswith("-S ")
    assert built.startswith("--build ") and built.endswith(f" --parallel {jobs}")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="CPUs are not assigned here")
@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed")
def test_by_default_as_many_run_as_there_are_cpus_to_run_on(build):
    allowed = sorted(os.sched_getaffinity(0))
    for cpus in (allowed[:1], allowed):
        done, notes = build("taskset", "-c", ",".join(map(str, cpus)))
        assert done.returncode == 0, done.stderr
        assert notes[-1].endswith(f" --parallel {len(cpus)}")


@pytest.mark.parametrize("value", ["0", "many", "-2", "1.5"])
def test_a_number_of_jobs_that_is_none_is_refused(build, value):
    done, _ = build(MAX_JOBS=value)
    assert done.returncode != 0
    assert f"MAX_JOBS is {value!r}; accepted is a number of jobs, from 1" in done.stderr
