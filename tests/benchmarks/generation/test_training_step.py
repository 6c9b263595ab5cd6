"""A vocoder's training step: what is measured is the same network twice."""

from __future__ import annotations

import json

import pytest

from benchmarks.generation import training_step


@pytest.mark.slow
def test_both_networks_agree_and_are_timed(tmp_path, capsys):
    out = tmp_path / "step.json"
    small = ["--batch", "1", "--samples", "256", "--rounds", "1", "--contenders", "eager", "ours"]
    training_step.main([*small, "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [row["contender"] for row in rows] == ["eager", "ours"]
    assert all(row["median_ms"] > 0 and row["differs_by"] < 1e-3 for row in rows)
    assert "| ours | " in capsys.readouterr().out
