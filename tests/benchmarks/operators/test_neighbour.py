"""Beside other programs: what is measured, and that they are gone afterwards."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.operators import neighbour
from benchmarks.operators.workloads import WORKLOADS


def test_a_row_for_each_contender_and_pass(monkeypatch):
    monkeypatch.setattr(neighbour, "SETTLED", 0.01)
    made = []
    begin = neighbour.subprocess.Popen
    monkeypatch.setattr(
        neighbour.subprocess, "Popen", lambda *args: made.append(begin(*args)) or made[-1]
    )
    small = next(workload for workload in WORKLOADS if workload.name == "small")
    rows = neighbour.measure(replace(small, time=500), count=1, rounds=2)
    assert {(row["contender"], row["pass"]) for row in rows} == {
        (name, what) for name in neighbour.CONTENDERS for what in neighbour.PASSES
    }
    assert all(row["slowdown_over_fair"] > 0 for row in rows)
    assert rows[0]["threads"] == torch.get_num_threads()
    assert len(made) == 1
    assert made[0].poll() is not None
