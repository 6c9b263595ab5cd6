"""`python -m benchmarks calibration`: decisions, their costs, and where they are written."""

from __future__ import annotations

import json

from benchmarks.operators import calibration as measured
from wavenet_kernels import calibration
from wavenet_kernels.calibration import program


def test_decisions_and_costs_are_written(monkeypatch, tmp_path):
    monkeypatch.setenv("WAVENET_KERNELS_CACHE", str(tmp_path))  # and as it was afterwards
    monkeypatch.setitem(program.WORKLOADS, "small", (4, 4, 4, 2, 2, 1, "causal"))
    monkeypatch.setattr(measured, "TURNS", 2)
    arguments = ["--workloads", "small", "--time", "60", "--out", str(tmp_path / "results")]
    measured.main(arguments)
    calibration.forget()
    (path,) = (tmp_path / "results").glob("calibration-*-float32.json")
    (row,) = json.loads(path.read_text())["rows"]
    (decision,) = calibration.from_entries([row["decision"]])
    assert decision.source == "measured" and decision.candidate.label == row["contender"]
    assert {"cpu", "reference"} <= set(row["figures"])
    assert row["decided_call_us"] > 0 and row["first_use_s"] > 0
