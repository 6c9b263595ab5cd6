"""Draws what was measured: FOLDER/README.md with every table, FOLDER/plots/ with SVGs.

The first page of the project shows one plot and two tables of them, between comments.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import BUILD, RESULTS, read_results
from benchmarks.reporting.plots import PLOTS, save
from benchmarks.reporting.tables import (
    CELLS,
    accuracies,
    ceilings,
    claim,
    heading,
    held,
    summary,
    table_of,
)
from wavenet.files import replace_file

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SHOWN, SAID = "stack-cpu-avx512-float32", "stack-cpu-avx2-float32"  # on the first page
CLASSIFIERS = ("fsdd", "fsdd-speakers", "asc", "esc10", "demo")  # there, too
CLASSIFIED = ("<!-- classifiers: begin -->", "<!-- classifiers: end -->")
PREAMBLE = """# Results

Drawn by `python -m benchmarks report` from the JSON files beside this page. Operations are counted
as the plain sums have them. "of floor" is the least time that arithmetic (at the rate of PyTorch's
fastest matrix products at the layers' shapes) or traffic (at the rate of a large copy) would take,
over the time taken; for streams, the time to read the weights once. The CPU kernels' fast
convolutions do fewer operations than are counted, so that a share may exceed 100 %. "ours
reference" is eager PyTorch behind our operators. "error / eager's" is the root mean square error
against float64, over eager PyTorch's.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line; draw, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", type=Path, default=BUILD)
    parser.add_argument("--readme", type=Path, help="the first page; by default this project's")
    given = parser.parse_args(arguments)
    records = dict(read(given.folder))
    committed = given.folder.resolve() == RESULTS
    if not records:
        raise SystemExit(f"{given.folder}: no result of {', '.join(CELLS)} is there")
    for name, record in records.items():
        for plot, draw in PLOTS.get(record["benchmark"], {}).items():
            save(draw(record), given.folder / "plots" / f"{name}-{plot}")
    page = given.folder / "README.md"
    replace_file(page, results_page(records))
    print(f"wrote {page} and {given.folder / 'plots'}")
    readme = given.readme or (RESULTS.parents[1] / "README.md" if committed else None)
    if readme and SHOWN in records:
        text = with_measured(readme.read_text(encoding="utf-8"), records)
        if committed:
            text = with_classifiers(text)
        replace_file(readme, text)
        print(f"wrote {readme}")


def read(folder: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """The results that have tables, by name, in the order of measurements."""
    for kind in CELLS:
        for path in sorted(folder.glob(f"{kind}-*.json")):
            yield path.stem, read_results(path)


def results_page(records: dict[str, dict[str, Any]]) -> str:
    """The page of all tables and plots."""
    parts = [PREAMBLE]
    for name, record in records.items():
        parts.append(f"## {name}\n\n{heading(record)}\n")
        plots = PLOTS.get(record["benchmark"], {})
        parts += [f"![{plot}](plots/{name}-{plot}.svg)\n" for plot in plots]
        parts.append(table_of(record["benchmark"], record["rows"]) + "\n")
        if floors := list(ceilings(record["rows"])):
            parts.append("\n".join(floors) + "\n")
    return "\n".join(parts)


def with_measured(text: str, records: dict[str, dict[str, Any]]) -> str:
    """The first page with the plot and the table of a result between its two comments.

    Of a second one, where it is there, a sentence.

    Raises:
        ValueError: it has no such comments.
    """
    plot = f"![times faster than eager PyTorch](benchmarks/results/plots/{SHOWN}-speedups.svg)"
    record = records[SHOWN]
    claims = claim(record) + (f" {held(records[SAID])}" if SAID in records else "")
    shown = [claims, summary(record["rows"]), plot, heading(record)]
    return _between(text, (BEGIN, END), shown)


def with_classifiers(text: str) -> str:
    """The first page with the committed accuracies, in the same way."""
    records = [
        json.loads((RESULTS / f"classifier-{name}.json").read_text(encoding="utf-8"))
        for name in CLASSIFIERS
    ]
    return _between(text, CLASSIFIED, [accuracies(records)])


def _between(text: str, comments: tuple[str, str], parts: Sequence[str]) -> str:
    before, begin, rest = text.partition(comments[0])
    _, end, after = rest.partition(comments[1])
    if not (begin and end):
        raise ValueError(f"the page has no {comments[0]} followed by {comments[1]}")
    return before + "\n\n".join([begin, *parts, end]) + after
