"""Comparisons say what exceeds the noise; the committed pages say what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.environment import RESULTS
from benchmarks.reporting import compare, report
from benchmarks.reporting.compare import differences

ROOT = Path(__file__).resolve().parents[3]


def record(ours: float, again: float = 1.02, width: float = 0.01):
    def row(contender: str, time: float):
        spread = {"p10_ms": time - width, "p90_ms": time + width}
        return {
            "workload": "w",
            "pass": "step",
            "contender": contender,
            "median_ms": time,
            **spread,
        }

    rows = [row("eager", 1.0), row("ours", ours), row("eager again", again)]
    return {"benchmark": "stack", "rows": rows}


@pytest.mark.parametrize(
    "after, verdict",
    [
        (record(0.4), "faster"),
        (record(0.6), "slower"),
        (record(0.505), "within the noise"),  # less than eager differs from itself
        (record(0.6, again=1.3), "within the noise"),
        (record(0.6, width=0.2), "within the noise"),  # the spreads overlap
    ],
)
def test_compare_says_what_exceeds_the_noise(after, verdict):
    (found,) = differences([record(0.5)], [after])
    assert (found.where, found.contender, found.verdict) == ("stack w step", "ours", verdict)


def test_compare_of_files_exits_by_what_it_found(tmp_path, capsys):
    files = [tmp_path / "stack-a.json", tmp_path / "stack-b.json"]
    for file, ours in zip(files, (0.5, 0.6), strict=True):
        file.write_text(json.dumps(record(ours)))
    with pytest.raises(SystemExit) as stopped:
        compare.main([*map(str, files)])
    assert stopped.value.code == 1
    assert "0 faster, 1 slower, of 1" in capsys.readouterr().out
    compare.main([*map(str, reversed(files))])


def test_pages_are_those_of_the_committed_results():
    records = dict(report.read(RESULTS))
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == report.results_page(records)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == report.with_measured(text, records[report.SHOWN])
    for name, one in records.items():
        for plot in report.PLOTS.get(one["benchmark"], {}):
            for suffix in ("png", "svg"):
                assert (RESULTS / "plots" / f"{name}-{plot}.{suffix}").is_file()
