"""The notebooks of docs/ run from their first cell to their last, in a kernel of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # of decoded clips
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    kernel = {"kernel_name": "python3", "timeout": 600, "resources": {}}
    nbclient.NotebookClient(notebook, **kernel).execute(cwd=str(tmp_path))


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["first-classifier", "fused-layer"]
