"""`python -m benchmarks`: measures the residual stack, prints a table, writes JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import contenders
from benchmarks.environment import RESULTS, environment, write_results
from benchmarks.measure import PASSES, Row, measure
from benchmarks.workloads import GPU_WORKLOADS, WORKLOADS, for_gpu


def table(rows: list[Row]) -> Table:
    """One line for each row; speed-ups are over eager in the same workload and pass."""
    eager = {
        (row["workload"], row["pass"]): row.get("median_ms")
        for row in rows
        if row["contender"] == "eager"
    }
    ceilings = "ceilings: {ceiling_gflops:.0f} GFLOP/s ({ceiling_by}), {copy_gbs:.0f} GB/s"
    out = Table("workload", "pass", "contender", caption=ceilings.format(**rows[0]))
    headings = ("ms", "p10-p90", "x eager", "GFLOP/s", "of ceiling", "GB/s", "MiB", "first ms")
    for heading in headings:
        out.add_column(heading, justify="right")
    for row in rows:
        if "error" in row:
            out.add_row(row["workload"], row["pass"], f"{row['contender']}: {row['error']}")
            continue
        base = eager.get((row["workload"], row["pass"]))
        out.add_row(
            row["workload"],
            row["pass"],
            row["contender"],
            f"{row['median_ms']:.1f}",
            f"{row['p10_ms']:.1f}-{row['p90_ms']:.1f}",
            f"{base / row['median_ms']:.2f}" if base else "",
            f"{row['gflops']:.1f}",
            f"{row['share']:.0%}",
            f"{row['gbs']:.1f}",
            f"{row['peak_mib']:.0f}",
            f"{row['first_ms']:.0f}",
        )
    return out


def main() -> None:
    """Parse the command line, measure, print, write."""
    names = [workload.name for workload in (*WORKLOADS, *GPU_WORKLOADS)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=names, default=names)
    parser.add_argument("--contenders", nargs="+", help="e.g. eager 'ours cpu'; default: all")
    parser.add_argument("--passes", nargs="+", choices=tuple(PASSES), default=tuple(PASSES))
    parser.add_argument("--rounds", type=int, default=20, help="measurements of each (default 20)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--out", type=Path, help="JSON file; default: in benchmarks/results/")
    options = parser.parse_args()

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, options.dtype)
    where = environment(device)  # the commit that runs, whatever is edited meanwhile
    rows: list[Row] = []
    workloads = WORKLOADS if device == "cpu" else (*map(for_gpu, WORKLOADS), *GPU_WORKLOADS)
    for workload in workloads:
        if workload.name not in options.workloads:
            continue
        torch._dynamo.reset()
        measured = measure(
            workload,
            contenders(device, options.contenders),
            passes=options.passes,
            rounds=options.rounds,
            device=device,
            dtype=dtype,
        )
        rows += measured
        Console(width=150).print(table(measured))

    out = options.out or RESULTS / f"stack-{device}-{options.dtype}.json"
    write_results(out, {**where, "dtype": options.dtype, "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
