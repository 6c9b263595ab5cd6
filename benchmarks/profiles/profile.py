"""`python -m benchmarks profile --backend B`: where a backend's time goes, reference workload.

Taps (the dilated convolution), gate, 1x1s, packing, launches, and what is between them, as
milliseconds of one pass. On a CPU one thread works and its own time counts, not that for which it
waits for a processor: `cpu` is sampled by perf, or counted in instructions by callgrind where perf
may not be used, and `reference` operator by operator. On a GPU torch's profiler sees the kernels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.compiled import native
from benchmarks.compiled.native import Case
from benchmarks.environment import BUILD, environment, write_results
from benchmarks.operators.contenders import Ours
from benchmarks.operators.stack import pass_of
from benchmarks.operators.workloads import WORKLOADS, Workload, for_gpu
from benchmarks.profiles import addresses, torch_profiler
from benchmarks.reporting.rows import Row
from benchmarks.timing import Run, timed
from wavenet_kernels import backends
from wavenet_kernels.call import Call, Settings, Tensors

WORKLOAD = next(workload for workload in WORKLOADS if workload.name == "reference")
BACKENDS = ("cpu", "reference", "triton", "cuda")
WHAT = ("forward", "step")
CALLGRIND_TIME = 2000  # in place of the workload's T: it is a hundred times slower than perf


def with_shares(rows: Sequence[Row], unit: str) -> list[Row]:
    """The largest first, each with its share of all."""
    total = sum(row[unit] for row in rows)
    ordered = sorted(rows, key=lambda row: -row[unit])
    return [{**row, "share": row[unit] / total if total else 0.0} for row in ordered]


def profile_cpu(what: str, dtype: str, by: str, folder: Path) -> dict[str, Any]:
    """The compiled kernels by what an address is for, and what a call costs beside them."""
    isa = native.best_isa() if by == "perf" else "avx2"
    native.configure(folder, isa, "-g")
    program = native.build(folder)
    how: dict[str, Any] = {"by": by, "isa": isa, "compiler": " ".join(native.compiler(folder))}
    if by == "callgrind":
        case = Case("", what, replace(WORKLOAD, time=CALLGRIND_TIME), dtype)
        rows = addresses.rows(addresses.by_callgrind(program, case, folder), "instructions")
        return {**how, "sizes": case.workload.sizes, "rows": with_shares(rows, "instructions")}
    case, times = Case("", what, WORKLOAD, dtype), 30 if what == "forward" else 10
    rows = addresses.rows(addresses.by_perf(program, case, times, folder), "ms")
    rows.append(
        {"category": torch_profiler.HOST, "ms": _empty_call_ms("cpu", what, dtype, WORKLOAD)}
    )
    return {**how, "sizes": WORKLOAD.sizes, "rows": with_shares(rows, "ms")}


def _empty_call_ms(backend: str, what: str, dtype: str, workload: Workload) -> float:
    """Of the operator with no signal in the batch: what it does before and after the kernels."""
    run = _run(backend, what, replace(workload, batch=0), "cpu", dtype)
    return 1e3 * min(timed(run) for _ in range(300))


def profile_eager(
    what: str, dtype: str, rounds: int, workload: Workload = WORKLOAD
) -> dict[str, Any]:
    """The backend `reference` on a CPU, by the operators that it calls."""
    reference = backends.load("reference")
    x, *weights = workload.tensors("cpu", getattr(torch, dtype))
    settings = Settings(workload.dilations, workload.padding)
    call = Call("residual_stack", Tensors(x, *weights), settings)

    def run() -> None:
        outputs = call.empty_outputs(saving=what == "step").present()
        reference.forward(call, outputs)
        if what == "step":
            reference.backward(call, outputs, call.empty_gradients([True] * 5 + [False]))

    rows = torch_profiler.by_operator(run, rounds)
    rows.append(
        {"category": torch_profiler.HOST, "ms": _empty_call_ms("reference", what, dtype, workload)}
    )
    by = "the processor's time in each operator"
    return {"by": by, "sizes": workload.sizes, "rows": with_shares(merged(rows), "ms")}


def merged(rows: Sequence[Row]) -> list[Row]:
    """Rows of one category become one: what an operator adds to a call, and the call itself."""
    found: dict[str, Row] = {}
    for row in rows:
        same = found.get(row["category"])
        found[row["category"]] = {**row, **same, "ms": row["ms"] + same["ms"]} if same else row
    return list(found.values())


def profile_gpu(backend: str, what: str, dtype: str, rounds: int) -> dict[str, Any]:
    """By torch's profiler: of `reference` the operators, of others the kernels."""
    workload = for_gpu(WORKLOAD)
    run = _run(backend, what, workload, "cuda", dtype)
    rows = torch_profiler.on_gpu(run, kernels=backend != "reference", rounds=rounds)
    sizes = workload.sizes
    return {"by": "torch.profiler", "sizes": sizes, "rows": with_shares(merged(rows), "ms")}


def _run(backend: str, what: str, workload: Workload, device: str, dtype: str) -> Run:
    tensors = workload.tensors(device, getattr(torch, dtype))
    return pass_of(what, Ours(backend), workload, tensors)


def table(backend: str, what: str, profile: dict[str, Any]) -> Table:
    """One line for each category."""
    unit = "ms" if "ms" in profile["rows"][0] else "instructions"
    out = Table(f"{backend}, {what}", caption=f"{profile['sizes']}; {profile['by']}")
    for heading in (unit, "share", "calls"):
        out.add_column(heading, justify="right")
    for row in profile["rows"]:
        amount = f"{row['ms']:.3f}" if unit == "ms" else f"{row['instructions']:,.0f}"
        out.add_row(row["category"], amount, f"{row['share']:.1%}", str(row.get("calls", "")))
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, profile, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, required=True)
    parser.add_argument("--pass", dest="passes", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--by", choices=("perf", "callgrind"), help="of cpu; default: what works")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="of reference; default: a GPU")
    parser.add_argument("--dtype", help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--rounds", type=int, default=10, help="all but cpu (default 10)")
    parser.add_argument("--folder", type=Path, default=native.ROOT / "build" / "profile")
    parser.add_argument("--out", type=Path, help="JSON file; default: in build/bench/")
    options = parser.parse_args(arguments)

    backend = options.backend
    device = {"cpu": "cpu", "triton": "cuda", "cuda": "cuda"}.get(backend, options.device)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"--backend {backend}: no CUDA device here, and its kernels run on one")
    dtype = options.dtype or ("bfloat16" if device == "cuda" else "float32")
    if device == "cpu":
        torch.set_num_threads(1)
    where = environment(device)  # the commit that runs, whatever is edited meanwhile
    passes = {}
    for what in options.passes:
        if backend == "cpu":
            by = options.by or ("perf" if addresses.perf_works() else "callgrind")
            passes[what] = profile_cpu(what, dtype, by, options.folder)
        elif device == "cpu":
            passes[what] = profile_eager(what, dtype, options.rounds)
        else:
            passes[what] = profile_gpu(backend, what, dtype, options.rounds)
        Console(width=120).print(table(backend, what, passes[what]))
    name = f"{backend}-cuda" if backend == "reference" and device == "cuda" else backend
    out = options.out or BUILD / f"profile-{name}.json"
    write_results(out, {**where, "backend": backend, "dtype": dtype, "passes": passes})
