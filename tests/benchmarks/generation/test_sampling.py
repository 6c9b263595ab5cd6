"""The program that measures the sampling loop."""

from __future__ import annotations

import json

import pytest

from benchmarks.generation import sampling

pytestmark = pytest.mark.slow


def test_every_contender_is_right_and_measured(tmp_path, capsys):
    out = tmp_path / "out.json"
    sampling.main(["--networks", "fsdd", "--rounds", "1", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [row["contender"] for row in rows] == list(sampling.CONTENDERS)
    for row in rows:
        assert row["samples_per_second"] > 0 and 0 < row["share_of_read"]
        assert row["differs_by"] < (0.2 if "bfloat16" in row["contender"] else 1e-4)
