"""The C library, built once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import c_library
import pytest


@pytest.fixture(scope="session")
def library_folder(tmp_path_factory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with open(shared / "runtime.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it built
        return c_library.build(shared / "runtime")


@pytest.fixture(scope="session")
def library(library_folder) -> c_library.Library:
    return c_library.Library(library_folder / "libwavenet.so")
