"""Rows of measurements as Markdown tables: all of them, or a summary for a first page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.reporting.rows import AGAIN, BEHIND, EAGER, PLAIN, Row

MISSING = "-"
BUSY = "†"  # beside a contender that was measured while the machine was busy
PLACE = ("axis", "value", "workload", "pass")  # what rows that are compared have in common
# What a cell says of a row, given the time of eager PyTorch in the same place.
Cell = Callable[[Row, "float | None"], str]


def time_of(row: Row | None) -> float | None:
    """A row's median, in its own unit."""
    row = row or {}
    for name in ("median_ms", "median_us", "step_s"):
        if name in row:
            return float(row[name])
    return None


def floor_share(row: Row) -> float | None:
    """The least time that arithmetic or traffic allow by the ceilings, over the time taken."""
    shares = [row["share"]] if "share" in row else []
    if "gbs" in row and "copy_gbs" in row:
        shares.append(row["gbs"] / row["copy_gbs"])
    return max(shares, default=None)


def places(rows: Sequence[Row]) -> dict[tuple[Any, ...], dict[str, Row]]:
    """The rows of each place by contender."""
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(key) for key in PLACE), {})[row["contender"]] = row
    return found


def eager_time(by_name: dict[str, Row]) -> float | None:
    """Of eager PyTorch in a place; in streams, where its forms differ most, of the faster one."""
    names = (EAGER, "eager rows") if "chunk" in next(iter(by_name.values())) else (EAGER,)
    times = [time for name in names if (time := time_of(by_name.get(name)))]
    return min(times, default=None)


def short(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _figure(key: str) -> Cell:
    return lambda row, _: short(row.get(key))


def _spread(unit: str) -> Cell:
    return lambda row, _: f"{short(row.get(f'p10_{unit}'))}-{short(row.get(f'p90_{unit}'))}"


def _times_eager(row: Row, eager: float | None) -> str:
    mine = time_of(row)
    return f"{eager / mine:.2f}" if eager and mine else MISSING


def _of_floor(row: Row, _: float | None) -> str:
    share = floor_share(row)
    return MISSING if share is None else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _share(name: str) -> Cell:
    def cell(row: Row, _: float | None) -> str:
        share = row.get("shares", {}).get(name, row.get(name))
        return MISSING if share is None else f"{share:.1%}"

    return cell


STACK: dict[str, Cell] = {
    "ms": _figure("median_ms"),
    "p10-p90": _spread("ms"),
    "x eager": _times_eager,
    "GFLOP/s": _figure("gflops"),
    "GB/s": _figure("gbs"),
    "of floor": _of_floor,
    "peak MiB": _figure("peak_mib"),
    "error / eager's": _figure("error_over_eagers"),
}
CELLS: dict[str, dict[str, Cell]] = {
    "stack": STACK,
    "streaming": {
        "us a call": _figure("median_us"),
        "p10-p90": _spread("us"),
        "x eager": _times_eager,
        "x real time": _figure("real_time"),
        "GFLOP/s": _figure("gflops"),
        "of floor": _of_floor,
    },
    "scaling": STACK,
    "overhead": {
        "us a call": _figure("median_us"),
        "p10-p90": _spread("us"),
        "us a layer": _figure("us_a_layer"),
        "us until it returns": _figure("returned_us"),
        "x eager": _times_eager,
    },
    "operators": {
        "us a call": _figure("median_us"),
        "p10-p90": _spread("us"),
        "x eager": _times_eager,
        "processor us": _figure("processor_us"),
        "x eager's": _figure("processor_x_eager"),
    },
    "first-call": {
        "first forward, s": _figure("forward_s"),
        "first training step, s": _figure("step_s"),
        "second, s": _figure("second_step_s"),
    },
    "end-to-end": {
        "clips/s": _figure("clips_per_second"),
        "samples/s": _figure("samples_per_second"),
        "ms a step": _figure("median_ms"),
        "p10-p90": _spread("ms"),
        "x eager": _times_eager,
        "outside our operators": _share("outside"),
        "outside the stack": _share("outside_stack"),
    },
    "runtime": {
        "us for 10 ms": _figure("median_us"),
        "p10-p90": _spread("us"),
        "processor us": _figure("processor_us"),
        "x real time": _figure("real_time"),
        "file KiB": _figure("file_kib"),
        "memory KiB": _figure("memory_kib"),
    },
    "amplifier": {
        "us a buffer": _figure("median_us"),
        "p10-p90": _spread("us"),
        "processor us": _figure("processor_us"),
        "x real time": _figure("real_time"),
        "GFLOP/s": _figure("gflops"),
        "x engine": _figure("x_engine"),
        "x engine, its fast tanh": _figure("x_fast_engine"),
    },
}
PLACE_HEADS = {"axis": "axis", "value": "size", "workload": "workload", "pass": "pass"}


def table_of(kind: str, rows: Sequence[Row]) -> str:
    """A line for each row; one without figures says why."""
    shares = next((row["shares"] for row in rows if "shares" in row), {})
    cells = {**CELLS[kind], **{name: _share(name) for name in shares}}
    used = [key for key in PLACE if any(row.get(key) is not None for row in rows)]
    if "axis" in used:
        used.remove("workload")  # each point is its own
    lines = []
    for by_name in places(rows).values():
        eager = eager_time(by_name)
        for name, row in by_name.items():
            if "error" in row:
                figures = [f"none: {row['error']}", *[""] * (len(cells) - 1)]
            else:
                figures = [cell(row, eager) for cell in cells.values()]
            shown = f"{name} {BUSY}" if "busy" in row else name
            lines.append([*(place_name(row, key) for key in used), shown, *figures])
    heads = [*(PLACE_HEADS[key] for key in used), "contender", *cells]
    rule = ["---"] * (len(used) + 1) + ["---:"] * len(cells)
    return "\n".join(map(line, [heads, rule, *_without_repeats(lines, len(used))]))


def _without_repeats(lines: Sequence[list[str]], columns: int) -> Iterable[list[str]]:
    """The lines, with what the first columns repeat from the line above left out."""
    before: list[str] = []
    for cells in lines:
        same = 0
        while before and same < columns and cells[same] == before[same]:
            same += 1
        yield [""] * same + cells[same:]
        before = cells


def place_name(row: Row, key: str) -> str:
    """Where a row belongs, as a table says it."""
    if key == "workload" and row.get("sizes") and "=" not in row["workload"]:
        return f"{row['workload']}: {row['sizes']}"
    if key == "pass":
        return {"step": "training step"}.get(row[key], row[key])
    return f"{row[key]:,}" if isinstance(row[key], int) else str(row[key])


def summary(rows: Sequence[Row]) -> str:
    """Of stacks, for a first page: forward passes and training steps, eager PyTorch and ours."""
    ours = ours_of(rows)
    heads = ["residual stack", "pass", "eager, ms"]
    for name in ours:
        heads += [f"{name}, ms", "x eager"]
    lines = []
    for by_name in places(rows).values():
        row = next(iter(by_name.values()))
        if row["pass"] == "backward":
            continue
        eager = time_of(by_name.get(EAGER))
        cells = [place_name(row, "workload"), place_name(row, "pass"), short(eager)]
        for name in ours:
            mine = by_name.get(name, {})
            cells += [short(time_of(mine)), _times_eager(mine, eager)]
        lines.append(cells)
    rule = ["---"] * 2 + ["---:"] * (len(heads) - 2)
    return "\n".join(map(line, [heads, rule, *_without_repeats(lines, 1)]))


def claim(record: dict[str, Any]) -> str:
    """What a first page may say of a result in a sentence: from the slowest to the fastest."""
    networks = len({where[2] for where in places(record["rows"])})
    return (
        f"On {record['threads']} threads of a CPU ({record['device']}), in {record['dtype']}, the "
        f"residual stacks of {networks} networks compute {_times_as_fast(record['rows'])} as fast "
        "as eager PyTorch."
    )


def held(record: dict[str, Any]) -> str:
    """The same, of a processor that was held to fewer instructions."""
    return f"Held to {record['instructions']}: {_times_as_fast(record['rows'])}."


def _times_as_fast(rows: Sequence[Row]) -> str:
    named = {"forward": "forward passes", "step": "training steps"}
    ranges = []
    for what, name in named.items():
        ratios = [
            eager / mine
            for where, by_name in places(rows).items()
            if where[3] == what and (eager := time_of(by_name.get(EAGER)))
            for ours in ours_of(rows)
            if (mine := time_of(by_name.get(ours)))
        ]
        if ratios:
            ranges.append(f"{name} {min(ratios):.2f} to {max(ratios):.2f} times")
    return " and ".join(ranges)


def accuracies(records: Sequence[dict[str, Any]]) -> str:
    """Of classifiers: a line for each, what it was trained on, how it was tested, what it got."""
    lines = []
    for record in records:
        protocol, accuracy = record["protocol"], record["test_accuracy"]
        if "parts" in record:
            clips = {part["clips"] for part in record["parts"]}
            deviation = record["test_accuracy_standard_deviation"]
            figure = f"{accuracy:.1%} ± {deviation:.1%} of {'/'.join(map(str, sorted(clips)))} each"
        else:
            figure = f"{accuracy:.1%} of {record['test']['clips']}"
        lines.append([f"`--config {record['config'].removesuffix('.yaml')}`", protocol, figure])
    heads = ["classifier", "tested on", "accuracy"]
    return "\n".join(map(line, [heads, ["---", "---", "---:"], *lines]))


def ours_of(rows: Sequence[Row]) -> list[str]:
    """Our contenders, as somebody would use them."""
    names = dict.fromkeys(row["contender"] for row in rows)
    return [name for name in names if name.startswith("ours ") and name not in (PLAIN, BEHIND)]


def heading(record: dict[str, Any]) -> str:
    """Where and how the numbers of a file came about."""
    packages = ("torch", "triton", "wavenet-kernels")
    versions = ", ".join(f"{name} {record['versions'].get(name, MISSING)}" for name in packages)
    rounds = f"; medians of {record['rounds']}, contenders interleaved"
    if record.get("benchmark") == "first-call":
        rounds = "; each in processes of its own"
    if limits := record.get("limits"):
        rounds += "; all held to " + " ".join(f"{name}={value}" for name, value in limits.items())
    busy = sum("busy" in row for row in record["rows"])
    if busy:
        rounds += f"; {busy} of {len(record['rows'])} rows on a busy machine ({BUSY})"
    return (
        f"{record['device']}, {record['threads']} thread{'s' * (record['threads'] > 1)}, "
        f"{record.get('dtype', 'float32')}, Python {record['python']}, {versions}; "
        f"commit {record['commit']}, {record['date'][:10]}{rounds}{noise_sentence(record['rows'])}."
    )


def noise_of(by_name: dict[str, Row]) -> float | None:
    """How far the two measurements of eager are apart in a place, as a part of the first."""
    once, again = (time_of(by_name.get(name)) for name in (EAGER, AGAIN))
    return abs(again / once - 1) if once and again else None


def noise_sentence(rows: Sequence[Row]) -> str:
    """The largest noise."""
    found = [noise for by_name in places(rows).values() if (noise := noise_of(by_name)) is not None]
    return f"; eager measured twice differs by up to {max(found):.0%}" if found else ""


def ceilings(rows: Sequence[Row]) -> Iterable[str]:
    """The floors' ground, a line for each workload."""
    seen: dict[tuple[Any, ...], str] = {}
    for row in rows:
        where = (row.get("axis"), row.get("value"), row.get("workload"))
        name = " ".join(str(part) for part in where if part is not None)
        if "ceiling_by" in row:
            seen[where] = (
                f"- {name}: matrix products at its shapes {row['ceiling_gflops']:.0f} GFLOP/s "
                f"({row['ceiling_by']}), copy {row['copy_gbs']:.0f} GB/s"
            )
        elif "read_gbs" in row:
            seen[where] = (
                f"- {name}: weights of {row['weight_bytes'] / 1e6:.2f} MB, read at "
                f"{row['read_gbs']:.0f} GB/s"
            )
    return seen.values()


def line(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
