"""`python -m benchmarks.report`: Markdown tables of what lies in benchmarks/results/, to stdout."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.environment import RESULTS
from benchmarks.measure import Row
from benchmarks.streaming import fastest_eager

MISSING = "-"
# Measured for the noise, and what our operators cost without a kernel of ours.
NOT_SHOWN = ("eager again", "ours reference")
PLAIN = "ours cpu, plain"  # without fast convolutions: a column beside ours


def stack_tables(record: dict[str, Any]) -> Iterable[str]:
    """A table for each of our backends in the file: a line for each workload and pass."""
    names = list(dict.fromkeys(row["contender"] for row in record["rows"]))
    ours = [name for name in names if name.startswith("ours ") and name not in (*NOT_SHOWN, PLAIN)]
    others = [name for name in names if name not in (*ours, *NOT_SHOWN)]
    for our in ours or [""]:
        columns = [*others, *([our] if our else [])]
        heads = [name.replace("compile", "torch.compile").removeprefix("ours ") for name in columns]
        heads = [f"{head}, ms" for head in heads]
        heads += ["x eager", "x compile", "GB/s", "share of matmul", "rms error / eager's"]
        heads += [f"memory, eager / {our[5:]}"]
        yield _line(f"residual stack, {record['dtype']}", "pass", *heads)
        yield _line("---", "---", *["---:"] * len(heads))
        shown = ""
        for (_, what), by_name in _grouped(record["rows"], "workload", "pass").items():
            mine, name = by_name.get(our, {}), _workload(by_name)
            yield _line(
                name if name != shown else "",
                {"step": "training step"}.get(what, what),
                *(_short(_median(by_name.get(column))) for column in columns),
                *(_ratio(by_name.get(other), mine) for other in ("eager", "compile")),
                _short(mine.get("gbs")),
                f"{mine['share']:.0%}" if "median_ms" in mine else MISSING,
                _short(mine.get("error_over_eagers")),
                f"{_short(by_name.get('eager', {}).get('peak_mib'))}"
                f" / {_short(mine.get('peak_mib'))} MiB",
            )
            shown = name
        yield ""
    ceilings = {row["workload"]: row for row in record["rows"] if "ceiling_by" in row}
    for workload, row in ceilings.items():
        yield (
            f"- {workload}: matmul at its shapes {row['ceiling_gflops']:.0f} GFLOP/s "
            f"({row['ceiling_by']}), copy {row['copy_gbs']:.0f} GB/s"
        )


def stream_table(record: dict[str, Any]) -> Iterable[str]:
    """A line for each workload and contender; speed-ups are over the fastest eager contender."""
    heads = ["us a call", "p10-p90", "x eager", "x real time", "GFLOP/s", "share of weight bound"]
    yield _line(f"streaming, {record['dtype']}", "contender", *heads)
    yield _line("---", "---", *["---:"] * len(heads))
    for by_name in _grouped(record["rows"], "workload").values():
        eager = fastest_eager(list(by_name.values()))
        measured = [row for row in by_name.values() if "error" not in row]
        for row in (row for row in measured if row["contender"] not in NOT_SHOWN):
            yield _line(
                _workload(by_name) if row is measured[0] else "",
                row["contender"],
                _short(row["median_us"]),
                f"{_short(row['p10_us'])}-{_short(row['p90_us'])}",
                f"{eager / row['median_us']:.2f}" if eager else MISSING,
                f"{row['real_time']:.2f}",
                f"{row['gflops']:.1f}",
                f"{row['share']:.1%}",
            )


def end_to_end_table(record: dict[str, Any]) -> Iterable[str]:
    """A line for each contender: how fast it is trained, and the shares of a step's time."""
    measured = [row for row in record["rows"] if "error" not in row]
    sections = next((list(row["shares"]) for row in measured if "shares" in row), [])
    heads = ["clips/s", "p10-p90", "samples/s", "x eager", "outside the operators", *sections]
    yield _line(f"{record['config']}, {record['data']}", *heads)
    yield _line("---", *["---:"] * len(heads))
    for row in (row for row in measured if row["contender"] not in NOT_SHOWN[:1]):
        shares = [row["outside"], *row["shares"].values()] if "shares" in row else []
        yield _line(
            row["contender"],
            _short(row["clips_per_second"]),
            f"{_short(row['clips_per_second_p10'])}-{_short(row['clips_per_second_p90'])}",
            _short(row["samples_per_second"]),
            f"{row['over_eager']:.2f}" if "over_eager" in row else MISSING,
            *(f"{share:.1%}" for share in shares),
            *[MISSING] * (0 if shares else 1 + len(sections)),
        )


def heading(record: dict[str, Any]) -> str:
    """Where and how the numbers of a file came about."""
    packages = ("torch", "triton", "wavenet-kernels")
    versions = ", ".join(f"{name} {record['versions'].get(name, MISSING)}" for name in packages)
    return (
        f"{record['device']}, {record['threads']} thread{'s' * (record['threads'] > 1)}, "
        f"Python {record['python']}, {versions}; commit {record['commit']}, "
        f"{record['date'][:10]}; medians of {record['rounds']}, contenders interleaved"
        f"{_noise(record['rows'])}."
    )


def _noise(rows: list[Row]) -> str:
    """How far the two measurements of eager are apart."""
    apart = []
    for by_name in _grouped(rows, "workload", "pass").values():
        pair = [_median(by_name.get(name)) for name in ("eager", "eager again")]
        apart += [abs(pair[1] / pair[0] - 1)] if pair[0] and pair[1] else []
    return f"; eager measured twice differs by up to {max(apart):.0%}" if apart else ""


def _grouped(rows: list[Row], *keys: str) -> dict[tuple[Any, ...], dict[str, Row]]:
    """Rows by contender, for each combination of the keys' values."""
    groups: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), {})[row["contender"]] = row
    return groups


def _workload(by_name: dict[str, Row]) -> str:
    row = next(iter(by_name.values()))
    return f"{row['workload']}: {row['sizes']}" if "sizes" in row else str(row["workload"])


def _median(row: Row | None) -> float | None:
    return (row or {}).get("median_ms", (row or {}).get("median_us"))


def _ratio(other: Row | None, mine: Row | None) -> str:
    theirs, ours = _median(other), _median(mine)
    return f"{theirs / ours:.2f}" if theirs and ours else MISSING


def _short(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _errors(rows: list[Row]) -> Iterable[str]:
    """What has no number, and why."""
    where: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "error" in row:
            place = " ".join(filter(None, (row.get("workload", "training"), row.get("pass"))))
            where.setdefault((row["contender"], row["error"]), []).append(place)
    for (contender, error), places in where.items():
        yield f"- {contender} not measured ({', '.join(places)}): {error}"


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=RESULTS)
    folder = parser.parse_args(arguments).folder
    kinds: dict[str, Callable[[dict[str, Any]], Iterable[str]]] = {
        "stack": stack_tables,
        "streaming": stream_table,
        "end-to-end": end_to_end_table,
    }
    for kind, tables in kinds.items():
        for path in sorted(folder.glob(f"{kind}-*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            print(f"{path.name}: {heading(record)}\n")
            print("\n".join([*tables(record), "", *_errors(record["rows"])]))
            print()


if __name__ == "__main__":
    main()
