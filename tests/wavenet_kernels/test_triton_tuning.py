"""The table of configurations, and the program that measures for it."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("triton")

from benchmarks.operators import triton_tuning
from benchmarks.operators.workloads import Workload
from wavenet_kernels.backends.triton import tuning
from wavenet_kernels.backends.triton.launcher import Launcher


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="measures on the CPU, in the interpreter")
def test_the_program_writes_rows_that_are_then_used(tmp_path, monkeypatch):
    workload = Workload("tiny", 16, 16, 16, 2, (1, 2), 1, 200)
    rows = triton_tuning.tune(
        workload,
        torch.bfloat16,
        "cpu",
        rounds=1,
        choices={"layer": {"BLOCK_T": (64,)}},
        margin=-1.0,  # whatever the noise says
    )
    assert {row["kernel"] for row in rows} == {"layer", "layer_gradient"}
    rows = [{**row, "config": {**row["config"], "BLOCK_T": 16}} for row in rows]
    path = tmp_path / "table.json"
    triton_tuning.write(path, rows)
    triton_tuning.write(path, [])
    assert json.loads(path.read_text())["rows"] == rows

    x = torch.zeros(1, 16, 9, dtype=torch.bfloat16)
    sizes = {"R": 16, "D": 16, "S": 16, "K": 2}
    assert Launcher().configure("layer", x, **sizes)["BLOCK_T"] != 16
    monkeypatch.setenv("WAVENET_KERNELS_TRITON_TABLE", str(path))
    tuning.table.cache_clear()
    tuning.choose.cache_clear()
    try:
        assert Launcher().configure("layer", x, **sizes)["BLOCK_T"] == 16
    finally:
        tuning.table.cache_clear()
        tuning.choose.cache_clear()
