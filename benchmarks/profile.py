"""`python -m benchmarks.profile --backend B`: where a backend's time goes, reference workload.

Taps (the dilated convolution), gate, 1x1s, packing, launches, and what is between them, as
milliseconds of one pass. `cpu` is sampled by perf while it has the processor, or counted in
instructions by callgrind where perf may not be used. What the others do is seen by torch's
profiler; of each operator or kernel the fastest of some rounds counts. On a CPU one thread works.
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

import wavenet_kernels._cpu as _cpu
from benchmarks import native, profile_native, profile_torch
from benchmarks.contenders import Ours
from benchmarks.environment import RESULTS, environment, write_results
from benchmarks.measure import PASSES
from benchmarks.native import Case
from benchmarks.timing import Run, timed
from benchmarks.workloads import WORKLOADS, Workload, for_gpu

WORKLOAD = next(workload for workload in WORKLOADS if workload.name == "reference")
BACKENDS = ("cpu", "reference", "triton", "cuda")
WHAT = ("forward", "step")
CALLGRIND_TIME = 2000  # in place of the workload's T: it is a hundred times slower than perf
Row = dict[str, Any]


def with_shares(rows: Sequence[Row], unit: str) -> list[Row]:
    """The largest first, each with its share of all."""
    total = sum(row[unit] for row in rows)
    ordered = sorted(rows, key=lambda row: -row[unit])
    return [{**row, "share": row[unit] / total if total else 0.0} for row in ordered]


def profile_cpu(what: str, dtype: str, by: str, folder: Path) -> dict[str, Any]:
    """The compiled kernels by what an address is for, and what a call costs beside them."""
    isa = _cpu.find_isa("") if by == "perf" else "avx2"
    native.configure(folder, isa, "-g")
    program = native.build(folder)
    how: dict[str, Any] = {"by": by, "isa": isa, "compiler": " ".join(native.compiler(folder))}
    if by == "callgrind":
        case = Case("", what, replace(WORKLOAD, time=CALLGRIND_TIME), dtype)
        rows = profile_native.rows(
            profile_native.by_callgrind(program, case, folder), "instructions"
        )
        return {**how, "sizes": case.workload.sizes, "rows": with_shares(rows, "instructions")}
    case, times = Case("", what, WORKLOAD, dtype), 30 if what == "forward" else 10
    rows = profile_native.rows(profile_native.by_perf(program, case, times, folder), "ms")
    rows.append({"category": profile_torch.HOST, "ms": _empty_call_ms(what, dtype)})
    return {**how, "sizes": WORKLOAD.sizes, "rows": with_shares(rows, "ms")}


def _empty_call_ms(what: str, dtype: str) -> float:
    """Of the operator with no signal in the batch: what it does before and after the kernels."""
    run = _run("cpu", what, replace(WORKLOAD, batch=0), "cpu", dtype)
    return 1e3 * min(timed(replace(run, calls=20)) for _ in range(20))


def profile_others(backend: str, what: str, device: str, dtype: str, rounds: int) -> dict[str, Any]:
    """By torch's profiler: of `reference` the operators, of others the kernels."""
    workload = for_gpu(WORKLOAD) if device == "cuda" else WORKLOAD
    rows = profile_torch.profiled(
        _run(backend, what, workload, device, dtype),
        device=device,
        kernels=backend != "reference",
        rounds=rounds,
    )
    return {"by": "torch.profiler", "sizes": workload.sizes, "rows": with_shares(rows, "ms")}


def _run(backend: str, what: str, workload: Workload, device: str, dtype: str) -> Run:
    tensors = workload.tensors(device, getattr(torch, dtype))
    settings = {"dilations": workload.dilations, "padding": workload.padding}
    return PASSES[what](Ours(backend), tensors, settings)


def table(backend: str, what: str, profile: dict[str, Any]) -> Table:
    """One line for each category."""
    unit = "ms" if "ms" in profile["rows"][0] else "instructions"
    out = Table(f"{backend}, {what}", caption=f"{profile['sizes']}; {profile['by']}")
    for heading in (unit, "share", "calls"):
        out.add_column(heading, justify="right")
    for row in profile["rows"]:
        amount = f"{row['ms']:.3f}" if unit == "ms" else f"{row['instructions']:,}"
        out.add_row(row["category"], amount, f"{row['share']:.1%}", str(row.get("calls", "")))
    return out


def main() -> None:
    """Parse the command line, profile, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, required=True)
    parser.add_argument("--pass", dest="passes", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--by", choices=("perf", "callgrind"), help="of cpu; default: what works")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="of reference; default: a GPU")
    parser.add_argument("--dtype", help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--rounds", type=int, default=20, help="of torch's profiler (default 20)")
    parser.add_argument("--folder", type=Path, default=native.ROOT / "build" / "profile")
    parser.add_argument("--out", type=Path, help="JSON file; default: in benchmarks/results/")
    options = parser.parse_args()

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
            by = options.by or ("perf" if profile_native.perf_works() else "callgrind")
            passes[what] = profile_cpu(what, dtype, by, options.folder)
        else:
            passes[what] = profile_others(backend, what, device, dtype, options.rounds)
        Console(width=120).print(table(backend, what, passes[what]))
    name = f"{backend}-cuda" if backend == "reference" and device == "cuda" else backend
    out = options.out or RESULTS / f"profile-{name}.json"
    write_results(out, {**where, "backend": backend, "dtype": dtype, "passes": passes})


if __name__ == "__main__":
    main()
