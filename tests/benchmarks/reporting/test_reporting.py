"""Comparisons say what exceeds the noise; the committed pages say what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.environment import RESULTS
from benchmarks.operators import predictions
from benchmarks.operators.workloads import WORKLOADS, for_gpu
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
    assert text == report.with_classifiers(report.with_measured(text, records))
    for name, one in records.items():
        for plot in report.PLOTS.get(one["benchmark"], {}):
            drawn = (RESULTS / "plots" / f"{name}-{plot}.svg").read_text(encoding="utf-8")
            assert "prefers-color-scheme: dark" in drawn


def test_predicted_beside_measured(tmp_path, capsys):
    """Of made-up files: a device that takes 1.5 times as long as the model said."""
    workload = for_gpu(next(w for w in WORKLOADS if w.name == "small"))
    layers = len(workload.dilations)

    def predicted(what: str, us: float, contender: str = "ours cuda"):
        place = {"workload": "small", "pass": what, "contender": contender}
        return {**place, "predicted_us": us, "positions": 1_024_000}

    def measured(what: str, contender: str, us: float):
        """A stack's time, of half as many positions as were predicted."""
        ms = us * layers / 2 / 1e3
        place = {"workload": "small", "pass": what, "contender": contender}
        return {**place, "median_ms": ms, "p10_ms": ms * 0.9, "p90_ms": ms * 1.1}

    assert workload.batch * workload.time == 512_000
    rows = [predicted("forward", 100.0), predicted("backward", 200.0)]
    where = {"commit": "abc", "date": "today", "device": "A GPU"}
    model = {"benchmark": "model", **where, "rows": rows}
    rows = [
        measured("forward", "ours cuda", 90.0),  # of inference nothing was predicted
        measured("backward", "ours cuda", 300.0),
        measured("backward", "eager", 900.0),
        measured("step", "ours cuda", 450.0),
        measured("step", "ours reference", 1000.0),
        {"workload": "small", "pass": "step", "contender": "ours triton", "error": "none"},
    ]
    stack = {"benchmark": "stack", **where, "rows": rows}
    (tmp_path / "model-cuda-bfloat16.json").write_text(json.dumps(model))
    (tmp_path / "stack-cpu-avx2-bfloat16.json").write_text(json.dumps(stack))
    arguments = [str(tmp_path), "--model", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"no stack-\*.json of a GPU and bfloat16"):
        predictions.main(arguments)
    (tmp_path / "stack-a-gpu-bfloat16.json").write_text(json.dumps(stack))
    predictions.main(arguments)
    page = (tmp_path / "predicted-and-measured.md").read_text()
    assert page in capsys.readouterr().out
    assert "| small | backward | ours cuda | 200 | 300 | 270-330 | 1.5 | 900 |" in page
    assert "| small | step | ours cuda | 300 | 450 | 405-495 | 1.5 | - |" in page
    assert "| small | forward | ours cuda | - | 90 | 81-99 | - | - |" in page
    assert "ours reference" not in page and "ours triton" not in page
    assert "1.50 as the geometric mean of 2 rows, which are within a factor of 1.00" in page
    with pytest.raises(SystemExit, match=r"no model-\*.json of float16"):
        predictions.main([*arguments, "--dtype", "float16"])
    with pytest.raises(ValueError, match="'huge' is no workload; there are"):
        predictions.microseconds_a_layer("huge", 1)
    assert predictions.verdict([]) == "Nothing that was predicted was measured."


def test_predictions_that_are_committed_can_be_read():
    records = list(predictions._records(RESULTS, "model", "bfloat16"))
    places = predictions.predictions(row for record in records for row in record["rows"])
    assert {("small", "backward", "ours cuda"), ("small", "step", "ours triton")} <= set(places)
