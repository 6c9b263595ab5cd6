"""What a training step keeps: the products that saves, and that it takes no more than eager."""

from __future__ import annotations

import pytest

from benchmarks.operators import kept
from benchmarks.operators.workloads import WORKLOADS


def test_products_are_those_of_the_notes():
    found = {
        workload.name: tuple(
            round(kept.products(workload, keeps_gates=keeps), 2) for keeps in (False, True)
        )
        for workload in WORKLOADS
    }
    assert found["flow"] == found["vocoder"] == (2.75, 2.25)
    assert found["reference"] == found["small"] == (3.0, 2.57)


@pytest.mark.slow
def test_kept_gates_take_no_more_memory_than_eager(capsys):
    kept.main(["--rounds", "1", "--workloads", "vocoder", "flow"])
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    peaks = [float(row[4]) for row in rows]
    for eager, inputs, gates, auto, _ in (peaks[:5], peaks[5:]):
        assert inputs < auto == gates <= eager
