"""Measures, shows a table of it, and writes a JSON file for each measurement.

python -m benchmarks run                                    everything on this machine
python -m benchmarks run stack --workloads reference flow --passes forward
python -m benchmarks run scaling --workloads R=48,S=96,K=3 --contenders eager "ours cpu"
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.environment import BUILD, clocks, environment, machine, write_results
from benchmarks.operators.contenders import stacks, streams
from benchmarks.operators.measurements import MEASUREMENTS
from benchmarks.operators.memory import limit_memory
from benchmarks.operators.options import PASSES, Options
from benchmarks.operators.workloads import GPU_WORKLOADS, STREAMS, WORKLOADS, parse
from benchmarks.reporting.rows import Row
from benchmarks.reporting.tables import table_of

NAMES = sorted({workload.name for workload in (*WORKLOADS, *GPU_WORKLOADS, *STREAMS)})
DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line; measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "measurements",
        nargs="*",
        choices=[*MEASUREMENTS, []],
        metavar="MEASUREMENT",
        help=f"of {', '.join(MEASUREMENTS)}; default: all",
    )
    parser.add_argument(
        "--workloads",
        nargs="+",
        default=(),
        metavar="WORKLOAD",
        help=f"of {', '.join(NAMES)}, or sizes such as R=64,S=128,K=2,L=10,T=16000; default: all",
    )
    parser.add_argument("--contenders", nargs="+", default=(), help="e.g. eager 'ours cpu'")
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=PASSES)
    parser.add_argument("--rounds", type=int, default=20, help="measurements of each (default 20)")
    parser.add_argument("--longest", type=int, default=1_000_000, help="samples, of scaling")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--out", type=Path, default=BUILD, help="folder for the JSON files")
    given = parser.parse_args(arguments)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = Options(
        device=device,
        dtype=getattr(torch, given.dtype),
        rounds=given.rounds,
        workloads=given.workloads,
        contenders=given.contenders,
        passes=given.passes,
        longest=given.longest,
    )
    _check(options)
    if device == "cpu":
        limit_memory()
    wanted = given.measurements or MEASUREMENTS
    measure({name: MEASUREMENTS[name](options) for name in wanted}, options, given.out)


def measure(groups: Mapping[str, Iterable[list[Row]]], options: Options, folder: Path) -> None:
    """Print the groups of rows of each measurement as they come, write a file for each."""
    device, dtype = options.device, str(options.dtype).removeprefix("torch.")
    where = environment(device)  # the commit that runs, whatever is edited meanwhile
    for name, its_groups in groups.items():
        rows: list[Row] = []
        out = folder / f"{name}-{machine(device)}-{dtype}.json"
        for group in its_groups:
            rows += group
            Console(width=150).print(Markdown(table_of(name, group)))
            for row in group:
                if busy := row.get("busy"):
                    print(f"a busy machine: {row['contender']}, {row.get('pass', 'call')}: {busy}")
            # What is measured is kept, whatever becomes of the rest.
            where["clocks afterwards"] = clocks(device)
            content = {"benchmark": name, **where, "dtype": dtype, "rounds": options.rounds}
            write_results(out, {**content, "rows": rows})
        if not rows:
            print(f"{name}: nothing to measure among {', '.join(options.workloads)}")


def _check(options: Options) -> None:
    """Stop with a sentence at a name that there is not."""
    for text in options.workloads:
        try:
            if text not in NAMES:
                parse(text)
        except ValueError as error:
            raise SystemExit(f"--workloads: {error}; named are {', '.join(NAMES)}") from None
    there = {*stacks(options.device), *streams(options.device, 1)}
    if unknown := set(options.contenders) - there:
        raise SystemExit(f"--contenders {sorted(unknown)}: there are {', '.join(sorted(there))}")
    if options.rounds < 1:
        raise SystemExit(f"--rounds {options.rounds}: accepted is 1 or more")
