"""The C library, each build of it once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.compiled import c_library

Builder = Callable[[str], Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Builder:
    """The folder of the library for one instruction set, or "" for all of the processor's."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def build(isa: str) -> Path:
        name = f"runtime-{isa}" if isa else "runtime"
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it built
            only = {"WAVENET_RUNTIME_ISAS": isa} if isa else {}
            return c_library.build(shared / name, **only)

    return build


@pytest.fixture(scope="session")
def library_folder(built) -> Path:
    return built("")


@pytest.fixture(scope="session")
def library(library_folder) -> c_library.Library:
    return c_library.Library(library_folder / "libwavenet.so")
