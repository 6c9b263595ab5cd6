"""`python -m benchmarks instruction-counts`: what the CPU kernels execute, against last time.

Instructions, counted by callgrind: that needs no quiet machine, every run counts the same. They
depend on the compiler, so the committed counts stand for one major version of it, and they are of
AVX2, for that is what valgrind can run. A count is not a time: waiting for memory doesn't show.

--write commits to what is counted now.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import wavenet_kernels._cpu as _cpu
from benchmarks.compiled import native
from benchmarks.compiled.native import Case
from benchmarks.environment import RESULTS, environment, write_results
from benchmarks.operators.workloads import STREAMS, WORKLOADS

COMMITTED = RESULTS / "instruction-counts.json"
ISA = "avx2"
TOLERANCE = 0.05
WRITE = "python -m benchmarks instruction-counts --write"
_WORKLOADS = {workload.name: workload for workload in WORKLOADS}
_STREAMS = {stream.name: stream.stack for stream in STREAMS}


def _case(
    of: str, what: str, time: int, *dilations: int, dtype: str = "float32", fast: bool = True
) -> Case:
    name = f"{of} {what}" + (f", {dtype}" if dtype != "float32" else "") + (", plain" * (not fast))
    return Case(name, what, replace(_WORKLOADS[of], time=time, dilations=dilations), dtype, fast)


# Short, for callgrind takes a second for some 7 million instructions, but not so short that packing
# the weights is most of it. (So there is no backward pass of flow, which is as vocoder's.)
CASES = (
    _case("reference", "pack", 1, 1, 32),
    _case("reference", "forward", 192, 1, 32),
    _case("reference", "forward", 192, 1, 32, fast=False),
    _case("reference", "forward", 192, 1, 32, dtype="bfloat16"),
    _case("reference", "backward", 192, 1, 32),
    Case("reference stream, one sample", "stream", _STREAMS["reference-1"]),
    Case("amplifier stream, a chunk", "stream", _STREAMS["amplifier"]),
    _case("small", "forward", 384, 1, 32),
    _case("small", "backward", 384, 1, 32),
    _case("vocoder", "forward", 96, 4),
    _case("vocoder", "backward", 96, 4),
    _case("vocoder", "backward-of-gates", 96, 4),
    _case("vocoder", "backward-of-x", 96, 4),
    _case("flow", "forward", 48, 4),
)


def unavailable() -> str | None:
    """Why nothing can be counted on this machine, or None."""
    if native.valgrind_version() is None:
        return "there is no valgrind"
    if ISA not in _cpu.build_info()["usable_isas"]:
        return f"this processor lacks {ISA}, whose instructions are counted"
    return None


def count(folder: Path) -> dict[str, int]:
    """Builds the program in a folder that was configured; instructions by case."""
    profiles = native.callgrind(native.build(folder), CASES, folder)
    return {case.name: native.instructions(p) for case, p in zip(CASES, profiles, strict=True)}


def committed(path: Path = COMMITTED) -> dict[str, Any]:
    """The figures to compare with: "compiler", and "instructions" by case."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def other_compiler(found: tuple[str, str], expected: Mapping[str, str]) -> str | None:
    """What differs, in words, if the committed counts are another compiler's; else None."""
    mine, theirs = (_major(*found), _major(expected["name"], expected["version"]))
    return None if mine == theirs else f"the committed counts are those of {theirs}, this is {mine}"


def complaints(counted: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """A sentence for each case that is further from its committed count than allowed."""
    found = [f"{name} has no committed count" for name in counted if name not in expected]
    found += [f"{name} is committed and wasn't counted" for name in expected if name not in counted]
    for name in counted.keys() & expected.keys():
        ratio = counted[name] / expected[name]
        times = f"{ratio:.3f} times the committed {expected[name]:,}"
        numbers = f"{counted[name]:,} instructions, {times}"
        if ratio > 1 + TOLERANCE:
            found.append(f"{name} takes {numbers}: it became slower")
        elif ratio < 1 - TOLERANCE:
            found.append(f"{name} takes {numbers}: `{WRITE}` commits to that")
    return sorted(found)


def table(counted: Mapping[str, int], expected: Mapping[str, int]) -> Table:
    """One line for each case."""
    out = Table("case")
    for heading in ("instructions", "committed", "ratio"):
        out.add_column(heading, justify="right")
    for name, number in counted.items():
        before = expected.get(name)
        ratio = f"{number / before:.4f}" if before else ""
        out.add_row(name, f"{number:,}", f"{before:,}" if before else "", ratio)
    return out


def _major(name: str, version: str) -> str:
    return f"{name} {version.partition('.')[0]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, count, print; write, or leave with 1 where a count is off."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks instruction-counts")
    parser.add_argument("--write", action="store_true", help=f"commit to them: {COMMITTED.name}")
    parser.add_argument("--folder", type=Path, default=native.ROOT / "build" / "count")
    options = parser.parse_args(arguments)
    if reason := unavailable():
        raise SystemExit(f"Not counted: {reason}.")

    where = environment()  # the commit that runs, whatever is edited meanwhile
    native.configure(options.folder, ISA)
    name, version = native.compiler(options.folder)
    before = committed() if COMMITTED.exists() else {"instructions": {}}
    counted = count(options.folder)
    Console(width=100).print(table(counted, before["instructions"]))
    if options.write:
        versions = {**where.pop("versions"), "valgrind": native.valgrind_version()}
        compiler = {"name": name, "version": version}
        of = {"versions": versions, "compiler": compiler, "isa": ISA, "instructions": counted}
        return write_results(COMMITTED, {**where, **of})
    if different := other_compiler((name, version), before["compiler"]):
        raise SystemExit(f"Not compared: {different}.")
    if wrong := complaints(counted, before["instructions"]):
        raise SystemExit("\n".join(wrong))
