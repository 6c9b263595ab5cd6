"""Operators are measured, what is wrong gets no figure, and what was measured is drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.operators import contenders, run, scaling, single
from benchmarks.operators.measurements import MEASUREMENTS
from benchmarks.operators.options import Options
from benchmarks.operators.workloads import WORKLOADS, parse
from benchmarks.reporting import report
from benchmarks.timing import Seconds, circumstances
from wavenet_kernels import backends, reference

ROOT = Path(__file__).resolve().parents[3]
TINY = "R=16,S=16,L=2,T=120"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread: figures don't matter here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


def broken(*tensors, **settings):
    residual, skip = reference.residual_stack(*tensors, **settings)
    return residual, skip + 1


class Careless(torch.autograd.Function):
    """Right outputs, and no work for gradients."""

    @staticmethod
    def forward(ctx, output, *leaves):
        ctx.leaves = len(leaves)
        ctx.shapes = [leaf.shape for leaf in leaves]
        return output.clone()

    @staticmethod
    def backward(ctx, grad):
        return (None, *(grad.new_zeros(shape) for shape in ctx.shapes))


def without_gradients(*tensors, **settings):
    outputs = reference.residual_stack(*(t.detach() for t in tensors), **settings)
    return tuple(Careless.apply(output, *tensors) for output in outputs)


def out_of_memory(*tensors, **settings):
    raise MemoryError("no more of it")


@pytest.mark.slow
def test_memory_that_is_not_there_fails_one_allocation():
    program = """
import resource, torch
from benchmarks.operators.memory import limit_memory
limit_memory()
free = resource.getrlimit(resource.RLIMIT_DATA)[0]
try:
    torch.empty(free, dtype=torch.uint8)  # untouched: without a limit the system promises it
except RuntimeError as error:
    print("refused", torch.ones(3).sum())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "refused tensor(3.)\n", done.stderr


QUICK = Options("cpu", torch.float32, rounds=2, workloads=[TINY], copied=1 << 20, processes=1)
# One of them is wrong and one fails.
ODD = replace(
    QUICK,
    every_stack={
        "eager": reference.residual_stack,
        "ours reference": contenders.Ours("reference"),
        "wrong": broken,
        "large": out_of_memory,
        "eager again": reference.residual_stack,
    },
)


def test_a_figure_is_given_for_right_gradients_alone():
    contending = {"eager": reference.residual_stack, "careless": without_gradients}
    options = replace(QUICK, every_stack=contending)
    (rows,) = MEASUREMENTS["stack"](options)
    found = {(row["contender"], row["pass"]): row for row in rows}
    assert "median_ms" in found["careless", "forward"]
    for what in ("backward", "step"):
        assert "wrong gradient of x: off by" in found["careless", what]["error"]
        assert found["eager", what]["error_over_eagers"] == pytest.approx(1, abs=0.5)
    row = found["eager", "step"]
    assert len(row["samples_ms"]) == 2 and row["processor_over_wall"] > 0


def test_a_busy_machine_is_noticed(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (2.1, 0, 0))
    even = [Seconds(1.0, 2.0)] * 10
    assert "busy" not in circumstances(even, threads=2)
    monkeypatch.setattr(os, "getloadavg", lambda: (4.0, 0, 0))
    assert "4.0 programs wanted a CPU, of which 2 are ours" in circumstances(even, 2)["busy"]
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0, 0))
    found = circumstances([*even, Seconds(3.0, 2.0), Seconds(3.0, 2.0)], threads=2)
    assert "3.0 times as long" in found["busy"] and found["processor_over_wall"] == 2.0


def test_what_was_measured_is_kept_when_the_rest_fails(tmp_path):
    def groups():
        yield [{"workload": "w", "pass": "step", "contender": "c", "median_ms": 1.0}]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.measure({"stack": groups()}, QUICK, tmp_path)
    ((_, kept),) = results_in(tmp_path).items()
    assert [row["median_ms"] for row in kept["rows"]] == [1.0]
    assert {"cpu", "load"} <= kept.keys()


def results_in(folder):
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.slow
def test_a_run_is_written_and_drawn(tmp_path, capsys):
    groups = {name: MEASUREMENTS[name](ODD) for name in ("stack", "overhead")}
    run.measure(groups, ODD, tmp_path)
    results = results_in(tmp_path)
    stack, overhead = (
        next(r for r in results.values() if r["benchmark"] == kind)
        for kind in ("stack", "overhead")
    )
    assert {"device", "versions", "commit", "date", "threads", "clocks"} <= stack.keys()
    by_name = {row["contender"]: row for row in stack["rows"] if row["pass"] == "step"}
    measured = {"median_ms", "p10_ms", "gflops", "gbs", "share", "copy_gbs", "peak_mib", "first_ms"}
    assert measured <= by_name["eager again"].keys()
    assert "wrong skip" in by_name["wrong"]["error"]
    assert by_name["large"]["error"] == "MemoryError: no more of it"
    assert overhead["rows"][0]["us_a_layer"] == overhead["rows"][0]["median_us"] / 2
    report.main([str(tmp_path)])
    page = (tmp_path / "README.md").read_text()
    assert "none: MemoryError: no more of it" in page and "eager measured twice" in page
    for name in ("speedups", "roofline", "memory"):
        assert list((tmp_path / "plots").glob(f"stack-*-{name}.svg"))


def test_scaling_covers_its_axes(tmp_path):
    every = list(scaling.points(WORKLOADS[0], 1_000_000, "cpu"))
    sizes = {axis: [value for a, value, _ in every if a == axis] for axis, _, _ in every}
    assert sizes["T"] == [1_000, 10_000, 100_000, 1_000_000]
    assert sizes["R"] == [16, 32, 64, 128, 256] and sizes["B"][0] == 1 and sizes["threads"][0] == 1
    points = [("T", 50, parse("R=16,S=16,L=2,T=50")), ("threads", 1, parse(TINY))]
    options = replace(ODD, passes=("forward",))
    threads = torch.get_num_threads()
    run.measure({"scaling": scaling.measure_points(points, options)}, options, tmp_path)
    assert torch.get_num_threads() == threads
    (record,) = results_in(tmp_path).values()
    assert [(row["axis"], row["value"]) for row in record["rows"][::5]] == [
        ("T", 50),
        ("threads", 1),
    ]
    report.main([str(tmp_path)])
    assert list((tmp_path / "plots").glob("scaling-*-curves.svg"))


@pytest.mark.slow
def test_streams_and_first_calls(tmp_path):
    names = ["ours reference", "ours operator", "eager"]
    options = replace(QUICK, workloads=["R=16,S=16,L=2,T=8"], contenders=names)
    groups = {name: MEASUREMENTS[name](options) for name in ("streaming", "first-call")}
    run.measure(groups, options, tmp_path)
    results = results_in(tmp_path).values()
    streaming, first = sorted(results, key=lambda r: r["benchmark"], reverse=True)
    assert all(row["real_time"] > 0 for row in streaming["rows"])
    assert {row["contender"] for row in first["rows"]} == {"eager", "ours reference"}
    assert all(row["forward_s"] > 0 and row["step_s"] > 0 for row in first["rows"])


def test_a_workload_of_any_sizes():
    workload = parse("R=48,S=96,K=3,L=4,stacks=2,B=3,T=777,padding=same")
    assert workload.dilations == (1, 2, 4, 8) * 2 and workload.padding == "same"
    assert (workload.residual, workload.dilation_channels, workload.skip) == (48, 48, 96)
    assert (workload.taps, workload.batch, workload.time) == (3, 3, 777)
    for wrong in ("R=0", "R=x", "Q=3", "padding=left", "reference"):
        with pytest.raises(ValueError, match="is not one of"):
            parse(wrong)


@pytest.mark.slow
def test_under_pytest_benchmark(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # which turns benchmarks off
    out = tmp_path / "benchmark.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/", "--benchmark-only", "-q", "-p", "no:xdist"]
        + ["-k", "clips and forward and ours and cpu and not plain", f"--benchmark-json={out}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for entry in json.loads(out.read_text())["benchmarks"]:
        assert entry["extra_info"]["GFLOP/s"] > 0 and entry["extra_info"]["GB/s"] > 0


@pytest.mark.slow
def test_operators_by_themselves(tmp_path, monkeypatch):
    """What calibration judges wrong gets no figure; others have wall and processor time."""
    wrong = "gradient of x: off"
    reference_backend = backends.load("reference")
    monkeypatch.setattr(
        single.verify, "wrong", lambda backend, *_: wrong if backend is reference_backend else None
    )
    monkeypatch.setattr(single, "ROUND_SECONDS", 1e-4)
    options = replace(QUICK, contenders=("eager", "ours reference", "ours cpu"))
    run.measure({"operators": single.measure(options)}, options, tmp_path)
    (record,) = results_in(tmp_path).values()
    assert {row["operator"] for row in record["rows"]} == set(single.OPERATORS)
    assert {row["pass"] for row in record["rows"]} == {"forward", "step"}
    for row in record["rows"]:
        if row["contender"] == "ours reference":
            assert row["error"] == f"ArithmeticError: {wrong}"
        else:
            assert row["median_us"] > 0 and row["processor_us"] > 0
            assert row["processor_x_eager"] == 1 or row["contender"] == "ours cpu"
    assert len(single.SIZES) == len(list(map(parse, single.SIZES)))
    report.main([str(tmp_path)])
    assert "gated_activation R=D=S=16" in (tmp_path / "README.md").read_text()


def test_nothing_but_tables_and_remarks_is_printed(tmp_path):
    small = ["--workloads", "R=4,S=4,K=2,L=1,T=50", "--contenders", "eager", "--passes", "forward"]
    command = [sys.executable, "-m", "benchmarks", "run", "stack", *small, "--rounds", "1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert list(tmp_path.iterdir())
    foreign = [line for line in done.stderr.splitlines() if not line.startswith("a busy machine")]
    assert not foreign and "USDT" not in done.stdout
