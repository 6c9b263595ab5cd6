"""Pictures of results: speed-ups, roofline, scaling, memory; each a figure, saved as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.reporting.rows import AGAIN, BEHIND, EAGER, Row
from benchmarks.reporting.tables import eager_time, places, time_of
from wavenet.files import replace_file

COLOURS = {
    EAGER: "#8d99ae",
    AGAIN: "#bfc7d5",
    "eager rows": "#66728a",
    "compile": "#e9a03b",
    "compile max-autotune": "#c9702b",
    "ours cpu, plain": "#7fb8ad",
    "ours cpu": "#1b7f79",
    "ours operator": "#7fb8ad",
    "ours StackStream": "#1b7f79",
    "ours triton": "#7a4fb5",
    "ours cuda": "#3c8f2f",
}
PASS_NAMES = {"forward": "forward", "backward": "backward", "step": "training step"}


# Where pages are dark, so are the pictures in them: ink and paper change places.
DARK = """@media (prefers-color-scheme: dark) {
text { fill: #dfe2e8 }
[style*="stroke: #000000"] { stroke: #dfe2e8 !important }
[style*="fill: #555555"] { fill: #a9afbb !important }
[style*="fill: #ffffff"] { fill: #1e2129 !important }
}
"""


def save(figure: Figure, path: Path) -> None:
    """As SVG, for light and for dark pages; the same figure makes the same file."""
    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "wavenet-kernels", "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    before, style, after = drawn.getvalue().partition('<style type="text/css">')
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path.with_suffix(".svg"), before + style + DARK + after)


def speedups(record: dict[str, Any]) -> Figure:
    """Bars of how many times faster than eager PyTorch each contender is; a panel for a pass."""
    by_pass: dict[str, list[dict[str, Row]]] = {}
    for where, by_name in places(record["rows"]).items():
        by_pass.setdefault(where[3] or "call", []).append(by_name)
    names = _shown(record, without=(EAGER,))
    figure, axes = plt.subplots(
        len(by_pass), 1, figsize=(9, 2.4 * len(by_pass) + 0.6), sharex=True, squeeze=False
    )
    for panel, (what, found) in zip(axes[:, 0], by_pass.items(), strict=True):
        bars(panel, names, found, _speedup)
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_ylabel(f"{PASS_NAMES.get(what, what)}\nx eager")
    title = f"Times faster than eager PyTorch ({record['dtype']})"
    _finish(figure, axes[0, 0], record, title, ranges=True)
    return figure


def memory(record: dict[str, Any]) -> Figure:
    """Bars of the peak memory of a training step."""
    found = [by_name for where, by_name in places(record["rows"]).items() if where[3] == "step"]
    figure, panel = plt.subplots(figsize=(9, 3.2))
    bars(panel, _shown(record, without=(AGAIN,)), found, lambda row, _: (row.get("peak_mib"),) * 3)
    panel.set_ylabel("MiB")
    _finish(figure, panel, record, f"Peak memory of a training step ({record['dtype']})")
    return figure


def roofline(record: dict[str, Any]) -> Figure:
    """Rates over arithmetic intensity, below what copies and matrix products reach here."""
    figure, panel = plt.subplots(figsize=(9, 5))
    rows = [row for row in record["rows"] if "gflops" in row and row["gbs"]]
    intensities = [row["gflops"] / row["gbs"] for row in rows]
    reach = np.geomspace(min(intensities) / 8, max(intensities) * 1.5, 100)
    stand: dict[float, list[str]] = {}  # where the forward passes of which workloads do
    for workload in dict.fromkeys(row["workload"] for row in rows):
        row = next(row for row in rows if row["workload"] == workload)
        roof = np.minimum(reach * row["copy_gbs"], row["ceiling_gflops"])
        panel.plot(reach, roof, color="black", linewidth=0.6, alpha=0.5)
        stand.setdefault(round(row["gflops"] / row["gbs"], 3), []).append(workload)
    for x, workloads in stand.items():
        at = {"rotation": 90, "fontsize": 8, "ha": "right", "va": "bottom"}
        panel.text(x, 0.02, ", ".join(workloads), transform=panel.get_xaxis_transform(), **at)
    markers = {"forward": "o", "backward": "s", "step": "^"}
    for name in _shown(record, without=(AGAIN,)):
        for what, marker in markers.items():
            mine = [row for row in rows if row["contender"] == name and row["pass"] == what]
            label = name if what == "forward" else None
            x = [row["gflops"] / row["gbs"] for row in mine]
            y = [row["gflops"] for row in mine]
            panel.vlines(x, *_slow_and_fast(mine), color=COLOURS.get(name), linewidth=0.7)
            panel.scatter(x, y, marker=marker, color=COLOURS.get(name), label=label, s=28)
    panel.set(xscale="log", yscale="log", ylabel="GFLOP/s")
    panel.set_ylim(min(row["gflops"] for row in rows) / 2.5)
    marked = "circles: forward, squares: backward, triangles: training step"
    panel.set_xlabel(f"operations a byte that must move ({marked})")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    title = f"Roofline; a roof for each workload ({record['dtype']})"
    _finish(figure, panel, record, title, ranges=True)
    return figure


def scaling(record: dict[str, Any]) -> Figure:
    """Rates over the signal's length, the batch, the channels and the threads."""
    axes_there = list(dict.fromkeys(row["axis"] for row in record["rows"]))
    figure, panels = plt.subplots(1, len(axes_there), figsize=(3.6 * len(axes_there), 3.8))
    titles = {"T": "T, samples", "B": "B, clips of 1,000", "R": "R = D channels"}
    for panel, axis in zip(np.atleast_1d(panels), axes_there, strict=True):
        for name in _shown(record, without=(AGAIN,)):
            for what, style in (("forward", "-"), ("step", "--")):
                mine = [
                    row
                    for row in record["rows"]
                    if row["axis"] == axis and row["contender"] == name and row["pass"] == what
                ]
                mine = [row for row in mine if "gflops" in row]
                x, y = [row["value"] for row in mine], [row["gflops"] for row in mine]
                label = name if what == "forward" else None
                panel.plot(x, y, style, marker="o", ms=3, color=COLOURS.get(name), label=label)
        panel.set(xscale="log", xlabel=titles.get(axis, axis), ylim=(0, None))
        values = sorted({row["value"] for row in record["rows"] if row["axis"] == axis})
        panel.set_xticks(values, [f"{value:,}" for value in values], rotation=30)
        panel.minorticks_off()
    first = np.atleast_1d(panels)[0]
    first.set_ylabel("GFLOP/s (dashed: training step)")
    _finish(figure, first, record, f"Two layers as their sizes grow ({record['dtype']})")
    return figure


PLOTS: dict[str, dict[str, Callable[[dict[str, Any]], Figure]]] = {
    "stack": {"speedups": speedups, "roofline": roofline, "memory": memory},
    "streaming": {"speedups": speedups},
    "scaling": {"curves": scaling},
    "overhead": {"speedups": speedups},
}


def bars(
    panel: Any,
    names: list[str],
    found: list[dict[str, Row]],
    height: Callable[[Row, float | None], tuple[float | None, ...]],
) -> None:
    """Groups of bars: one for each place, in it one for each contender that has a figure.

    `height` gives it with its lowest and its highest value, which the black line spans.
    """
    width = 0.8 / max(1, len(names))
    nothing = (None,) * 3
    for number, name in enumerate(names):
        for place, by_name in enumerate(found):
            row = by_name.get(name)
            value, low, high = nothing if row is None else height(row, eager_time(by_name))
            if not value:
                continue
            x = place + (number - (len(names) - 1) / 2) * width
            panel.bar(x, value, width, color=COLOURS.get(name))
            top = max(value, high or 0.0)
            if low and high and high > low:
                panel.plot([x, x], [low, high], color="black", linewidth=0.7)
            text = f"{value:.0f}" if value >= 20 else f"{value:.2f}"
            at: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7, "rotation": 90}
            at["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.2, "alpha": 0.8}
            panel.annotate(text, (x, top), (0, 2), textcoords="offset points", **at)
        panel.bar(0, 0, label=name, color=COLOURS.get(name))  # the legend's
    places_named = [next(iter(by_name.values()))["workload"] for by_name in found]
    panel.set_xticks(range(len(found)), places_named)
    panel.margins(y=0.2)
    panel.spines[["top", "right"]].set_visible(False)


def _shown(record: dict[str, Any], without: Iterable[str]) -> list[str]:
    names = dict.fromkeys(row["contender"] for row in record["rows"])
    return [name for name in names if name not in (*without, BEHIND)]


def _speedup(row: Row, eager: float | None) -> tuple[float | None, ...]:
    """By the median, by the slowest and by the fastest tenth of the rounds."""
    slow, fast = (row.get(f"{end}_ms", row.get(f"{end}_us")) for end in ("p90", "p10"))
    times = (time_of(row), slow, fast)
    return tuple(eager / time if eager and time else None for time in times)


def _slow_and_fast(rows: list[Row]) -> tuple[list[float], list[float]]:
    """Rates of the slowest and of the fastest tenth of the rounds."""
    ends = [
        [row["gflops"] * row["median_ms"] / row.get(f"{end}_ms", row["median_ms"]) for row in rows]
        for end in ("p90", "p10")
    ]
    return ends[0], ends[1]


def _finish(
    figure: Figure, panel: Any, record: dict[str, Any], title: str, *, ranges: bool = False
) -> None:
    """The legend, and where the figures come from; whether their ranges are shown."""
    handles, labels = panel.get_legend_handles_labels()
    figure.suptitle(title, fontsize=11)
    source = f"{record['device']}, {record['threads']} threads, commit {record['commit'][:12]}"
    if ranges:
        source += "; thin lines: from the slowest to the fastest tenth of the rounds"
    figure.text(0.995, 0.005, source, ha="right", va="bottom", fontsize=7, color="#555555")
    inch = 1 / figure.get_figheight()
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.13 * inch)}
    figure.legend(handles, labels, fontsize=8, frameon=False, ncols=4, **place)
    rows = -(-len(labels) // 4)
    figure.tight_layout(rect=(0, (0.2 + 0.18 * rows) * inch, 1, 1))
