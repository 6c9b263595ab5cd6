"""Predicted beside measured: what the model said of the GPU kernels, and what a GPU says.

A table from result files alone: model-*.json of `python -m benchmarks model predict --out` and
stack-*.json of `python -m benchmarks run stack` on a GPU, in microseconds of a layer. Written to
the folder as predicted-and-measured.md, this calibrates the model: a factor that all rows share is
the device's, rows that fall out of line are what the model gets wrong.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import RESULTS, read_results
from benchmarks.operators.workloads import WORKLOADS, for_gpu
from benchmarks.reporting.rows import EAGER, Row
from benchmarks.reporting.tables import short
from wavenet.files import replace_file

# What the passes of a benchmark are by the model's names: it measures a forward pass without
# gradients, and a step is a forward pass that keeps what backward needs, and backward.
PASSES = {"forward": ("inference",), "backward": ("backward",), "step": ("forward", "backward")}
HEADS = (
    "workload", "pass", "contender", "predicted, us", "measured, us", "p10-p90",
    "measured / predicted", "eager measured, us",
)  # fmt: skip
Place = tuple[str, str, str]  # workload, pass, contender


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, read, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks predictions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", type=Path, default=RESULTS)
    parser.add_argument("--model", type=Path, default=RESULTS, help="folder of predictions")
    parser.add_argument("--dtype", default="bfloat16")
    given = parser.parse_args(arguments)
    modelled = [*_records(given.model, "model", given.dtype)]
    measured = [r for r in _records(given.folder, "stack", given.dtype) if "cpu" not in r["file"]]
    if not modelled:
        raise SystemExit(f"{given.model}: no model-*.json of {given.dtype} is there")
    if not measured:
        raise SystemExit(
            f"{given.folder}: no stack-*.json of a GPU and {given.dtype} is there; "
            "python -m benchmarks run stack --device cuda measures"
        )
    text = "".join(page(modelled, record) for record in measured)
    print(text)
    out = given.folder / "predicted-and-measured.md"
    replace_file(out, text)
    print(f"wrote {out}")


def page(modelled: Sequence[dict[str, Any]], measured: dict[str, Any]) -> str:
    """The table of one device."""
    predicted = predictions(row for record in modelled for row in record["rows"])
    (positions,) = {row["positions"] for record in modelled for row in record["rows"]}
    lines, ratios = [], []
    found = {(r["workload"], r["pass"], r["contender"]): r for r in measured["rows"]}
    for (workload, what, contender), row in found.items():
        if not contender.startswith("ours "):
            continue
        expected = predicted.get((workload, what, contender))
        if expected is None and contender not in {place[2] for place in predicted}:
            continue  # of which nothing is ever predicted, as "ours reference"
        scale = microseconds_a_layer(workload, positions)
        got = row["median_ms"] * scale if "median_ms" in row else None
        eager = found.get((workload, what, EAGER), {}).get("median_ms")
        ratio = got / expected if got and expected else None
        if ratio:
            ratios.append(ratio)
        spread = "-"
        if got:
            spread = f"{short(row['p10_ms'] * scale)}-{short(row['p90_ms'] * scale)}"
        lines.append(
            [workload, what, contender, short(expected), short(got), spread, short(ratio)]
            + [short(eager * scale if eager else None)]
        )
    rule = ["---"] * 3 + ["---:"] * (len(HEADS) - 3)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADS, rule, *lines))
    models = sorted({f"{r['file']} (commit {r['commit']})" for r in modelled})
    return (
        f"## Predicted and measured: {measured['device']}, {measured['dtype']}\n\n"
        f"Microseconds of a layer and {positions:,} positions (clips times samples), to which "
        f"measured times are scaled. Predicted of an H100 by {', '.join(models)}; measured: "
        f"{measured['file']}, commit {measured['commit']}, {measured['date']}.\n\n"
        f"{table}\n\n{verdict(ratios)}\n"
    )


def verdict(ratios: Sequence[float]) -> str:
    """One factor for all rows, and how far they are from it."""
    if not ratios:
        return "Nothing that was predicted was measured."
    logs = [math.log(ratio) for ratio in ratios]
    factor = math.exp(sum(logs) / len(logs))
    farthest = math.exp(max(abs(log - math.log(factor)) for log in logs))
    return (
        f"Measured over predicted: {factor:.2f} as the geometric mean of {len(ratios)} rows, which "
        f"are within a factor of {farthest:.2f} of it. The model is trusted to 30 %."
    )


def predictions(rows: Iterable[Row]) -> dict[Place, float]:
    """Microseconds by a benchmark's names, where all that a pass consists of was predicted."""
    given = {(r["workload"], r["pass"], r["contender"]): float(r["predicted_us"]) for r in rows}
    found: dict[Place, float] = {}
    for workload, _, contender in given:
        for what, parts in PASSES.items():
            if all((workload, part, contender) in given for part in parts):
                times = [given[workload, part, contender] for part in parts]
                found[workload, what, contender] = sum(times)
    return found


def microseconds_a_layer(workload: str, positions: int) -> float:
    """By what to multiply milliseconds of a whole stack at its size on a GPU."""
    stack = next((for_gpu(w) for w in WORKLOADS if w.name == workload), None)
    if stack is None:
        raise ValueError(f"{workload!r} is no workload; there are {[w.name for w in WORKLOADS]}")
    return 1e3 * positions / (stack.batch * stack.time * len(stack.dilations))


def _records(folder: Path, kind: str, dtype: str) -> Iterable[dict[str, Any]]:
    for path in sorted(folder.glob(f"{kind}-*-{dtype}.json")):
        yield {"file": path.name, "dtype": dtype, **read_results(path)}
