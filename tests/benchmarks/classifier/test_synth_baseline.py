from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def test_the_program_runs_and_the_sounds_are_hard_but_not_hopeless(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "results" / "baseline.json"
    options = ["--clips-per-class", "30", "--sample-rate", "8000", "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks", "synth-baseline", *options]
    subprocess.run(command, check=True, cwd=ROOT)
    record = json.loads(out.read_text())
    assert record["clips"] == {"train": 210, "validation": 30, "test": 60}
    assert 0.3 < record["accuracy"] < 0.8
    assert record["data"]["seed"] == record["seed"] == 0
    assert {"protocol", "chosen", "versions", "device", "commit", "date"} <= record.keys()
