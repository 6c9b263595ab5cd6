"""Sets two results side by side, or two commits, and says which differences exceed the noise.

python -m benchmarks compare before.json after.json
python -m benchmarks compare main~1 main -- stack --workloads reference

Times are compared as multiples of eager PyTorch's in the same process, so that a machine that is
faster today counts for nothing. The noise of a place is how far two measurements of eager PyTorch
are apart there, in either result; a difference exceeds it if it is larger than the noise and the
spreads (10th to 90th percentile) don't overlap. Two commits are checked out and built beside each
other, and measured in turn, each by the `run` of its own tree, which is given what follows `--`: so
its command line and its file must go on meaning what they meant, however benchmarks are arranged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.environment import read_results
from benchmarks.programs import cmake, run
from benchmarks.reporting.rows import AGAIN, EAGER, Row
from benchmarks.reporting.tables import line, noise_of, places, time_of

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Difference:
    """Of one contender in one place: times over eager's, before and after, and the noise."""

    where: str
    contender: str
    before: float
    after: float
    noise: float
    apart: bool

    @property
    def change(self) -> float:
        """Of the time: -0.1 is a tenth less."""
        return self.after / self.before - 1

    @property
    def verdict(self) -> str:
        """What can be said."""
        if not self.apart or abs(self.change) <= self.noise:
            return "within the noise"
        return "faster" if self.change < 0 else "slower"


def main(arguments: Sequence[str]) -> None:
    """Parse the command line; compare, print; exit status 1 if something is slower."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare",
        usage="%(prog)s [--turns N] BEFORE AFTER [-- ARGUMENT OF run ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", metavar="BEFORE", help="a JSON file of `run`, or a revision")
    parser.add_argument("after", metavar="AFTER")
    parser.add_argument("--turns", type=int, default=3, help="of each revision (default 3)")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = parser.parse_args(arguments[:end])
    names = (given.before, given.after)
    files = [Path(name) for name in names]
    if all(file.is_file() for file in files):
        records = [[read_results(file)] for file in files]
    else:
        records = _measure(names, arguments[end + 1 :], given.turns)
    found = differences(*records)
    if not found:
        raise SystemExit(f"{names[0]} and {names[1]} have no contender in common")
    Console(width=150).print(Markdown(table(found)))
    slower = [one for one in found if one.verdict == "slower"]
    faster = [one for one in found if one.verdict == "faster"]
    print(f"{len(faster)} faster, {len(slower)} slower, of {len(found)}; the rest is noise")
    if slower:
        raise SystemExit(1)


def differences(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[Difference]:
    """What two results have in common, each of one record or of several turns."""
    sides = [_relative(records) for records in (before, after)]
    found = []
    for key in sides[0]:
        if key not in sides[1]:
            continue
        (first, low, high, noise), (second, low2, high2, noise2) = sides[0][key], sides[1][key]
        apart = high < low2 or high2 < low
        *where, contender = (str(part) for part in key if part is not None)
        found.append(
            Difference(" ".join(where), contender, first, second, max(noise, noise2), apart)
        )
    return found


def table(found: Sequence[Difference]) -> str:
    """A line for each difference."""
    heads = ("where", "contender", "before, x eager's time", "after", "change", "noise", "")
    lines = [heads, ("---", "---", *["---:"] * 4, "---")]
    for one in found:
        figures = (f"{one.before:.3f}", f"{one.after:.3f}", f"{one.change:+.1%}")
        lines.append((one.where, one.contender, *figures, f"{one.noise:.1%}", one.verdict))
    return "\n".join(map(line, lines))


def _relative(
    records: Sequence[Mapping[str, Any]],
) -> dict[tuple[Any, ...], tuple[float, float, float, float]]:
    """Time, its 10th and 90th percentile over eager's, and the noise, by place and contender.

    Of several turns: the middle one's time, the widest spread, the largest noise.
    """
    turns: dict[tuple[Any, ...], list[tuple[float, float, float, float]]] = {}
    for record in records:
        for where, by_name in places(record["rows"]).items():
            eager = time_of(by_name.get(EAGER))
            if not eager:
                continue
            for name, row in by_name.items():
                time = time_of(row)
                if time and name not in (EAGER, AGAIN):
                    low, high = _spread(row)
                    found = (time / eager, low / eager, high / eager, noise_of(by_name) or 0.0)
                    key = (record["benchmark"], *where, name)
                    turns.setdefault(key, []).append(found)
    relative = {}
    for key, found in turns.items():
        middle = sorted(found)[len(found) // 2]
        lows, highs, noises = zip(*(one[1:] for one in found), strict=True)
        relative[key] = (middle[0], min(lows), max(highs), max(noises))
    return relative


def _spread(row: Row) -> tuple[float, float]:
    for unit in ("ms", "us"):
        if f"p10_{unit}" in row:
            return row[f"p10_{unit}"], row[f"p90_{unit}"]
    time = time_of(row)
    assert time is not None
    return time, time


def _measure(
    revisions: Sequence[str], arguments: Sequence[str], turns: int
) -> list[list[dict[str, Any]]]:
    """The results of revisions, each measured in turn with the others."""
    chosen = list(arguments) or ["stack", "--workloads", "reference"]
    records: list[list[dict[str, Any]]] = [[] for _ in revisions]
    with contextlib.ExitStack() as stack:
        trees = [stack.enter_context(_built(revision)) for revision in revisions]
        for turn in range(turns):
            for tree, found in zip(trees, records, strict=True):
                out = tree / "build" / f"turn-{turn}"
                command = [sys.executable, "-m", "benchmarks", "run", *chosen, "--out", str(out)]
                path = os.pathsep.join(map(str, (tree, tree / "python_api")))
                environment = {**os.environ, "PYTHONPATH": path}
                subprocess.run(command, cwd=tree, env=environment, check=True)
                found += map(read_results, sorted(out.glob("*.json")))
    return records


@contextlib.contextmanager
def _built(revision: str) -> Iterator[Path]:
    """A worktree of a revision with its CPU module, and its CUDA module where there is a GPU."""
    git = ["git", "-C", str(ROOT)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        added = subprocess.run(
            [*git, "worktree", "add", "--detach", "-q", str(tree), revision],
            capture_output=True,
            text=True,
        )
        if added.returncode:
            raise SystemExit(f"{revision}: neither a file nor a revision ({added.stderr.strip()})")
        try:
            cuda = "1" if torch.cuda.is_available() else "0"
            configure = [cmake(), "-S", str(tree), "-B", str(tree / "build")]
            configure += [f"-DPython_EXECUTABLE={sys.executable}"]
            configure += [f"-DWAVENET_KERNELS_CUDA={cuda}", "-DWAVENET_KERNELS_CUDA_ARCHS=native"]
            run(*configure)
            cpus = len(os.sched_getaffinity(0))
            run(cmake(), "--build", str(tree / "build"), "--parallel", str(cpus))
            yield tree
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=False)
