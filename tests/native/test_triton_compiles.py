"""The Triton kernels, as the workloads of the benchmarks launch them, compile with no GPU for every
chip, spill nothing, fit into shared memory, and use the tensor cores meant for that chip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]


# The program's default is everything, many minutes of compiling.
CHOICES = [
    ["--dtypes", "bfloat16", "--stack-alone"],
    ["--dtypes", "bfloat16", "--workloads", "reference"],
    ["--dtypes", "float16", "float32", "tf32", "--workloads", "reference", "--stack-alone"],
]


@pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
def test_kernels_compile_without_spills(choice):
    rows = _compiled("--arch", "80", "90", "100", *choice)
    assert {row["arch"] for row in rows} == {80, 90, 100}
    assert {row["kernel"] for row in rows} >= {"layer_kernel", "layer_gradient_kernel"}
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["registers"] <= 255 and row["shared"] <= row["shared_limit"], row
        if row["products"] and row["dtype"] in ("bfloat16", "float16"):
            assert row["tensor_cores"], row


def _compiled(*options: str) -> list[dict[str, Any]]:
    # In a process of its own: this one may have Triton's interpreter switched on.
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-m", "benchmarks", "triton-kernels", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
