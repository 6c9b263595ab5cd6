"""The table of architectures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wavenet import create_model
from wavenet.networks import list_models

pytestmark = pytest.mark.slow


def test_the_program_that_makes_the_table(tmp_path):
    options = ["--seconds", "0.02", "--rounds", "1", "--out", str(tmp_path / "out.json")]
    command = [sys.executable, "-m", "benchmarks", "presets", *options]
    done = subprocess.run(
        command, check=True, cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["name"] for row in rows] == list_models()
    paper = create_model("wavenet-paper", labels=[str(i) for i in range(10)])
    assert rows[-1]["parameters"] == sum(p.numel() for p in paper.parameters())
    assert rows[-1]["receptive_field"] == 1 + 3 * 1023 + 1 == paper.receptive_field
    assert all(f"| `{name}` |" in done.stdout for name in list_models())
