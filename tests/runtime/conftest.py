"""The C library, built once."""

from __future__ import annotations

from pathlib import Path

import c_library
import pytest


@pytest.fixture(scope="session")
def library_folder(tmp_path_factory) -> Path:
    return c_library.build(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="session")
def library(library_folder) -> c_library.Library:
    return c_library.Library(library_folder / "libwavenet.so")
