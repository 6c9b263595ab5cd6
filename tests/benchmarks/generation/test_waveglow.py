"""The figures of WaveGlow: what is measured is the same network twice."""

from __future__ import annotations

import json

import pytest

from benchmarks.generation import waveglow


@pytest.mark.slow
def test_both_networks_agree_and_are_timed(tmp_path, capsys):
    out = tmp_path / "waveglow.json"
    small = ["--channels", "8", "--flows", "2", "--seconds", "0.02", "--rounds", "1"]
    waveglow.main([*small, "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [(row["pass"], row["contender"]) for row in rows] == [
        (name, contender) for name in ("infer", "step") for contender in ("eager", "ours")
    ]
    assert all(row["median_s"] > 0 and row["differs_by"] < 1e-3 for row in rows)
    assert "| step | ours | " in capsys.readouterr().out
