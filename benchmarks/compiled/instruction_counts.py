"""`python -m benchmarks instruction-counts`: what the CPU kernels execute, against last time.

Instructions: that needs no quiet machine, every run counts the same. Those of AVX2 are counted by
callgrind, which runs no newer ones, those of NEON by QEMU, on any processor (--isa neon). They
depend on the compiler, so the committed counts stand for one major version of it. A count is not a
time: waiting for memory doesn't show.

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
from benchmarks.compiled import emulated, native
from benchmarks.compiled.native import Case
from benchmarks.environment import RESULTS, environment, write_results
from benchmarks.operators.workloads import STREAMS, WORKLOADS

COMMITTED = {
    "avx2": RESULTS / "instruction-counts.json",
    "neon": RESULTS / "instruction-counts-neon.json",
}
TOLERANCE = 0.05
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
    Case("amplifier without gates, a chunk", "in-time", _STREAMS["amplifier"]),
    _case("small", "forward", 384, 1, 32),
    _case("small", "backward", 384, 1, 32),
    _case("vocoder", "forward", 96, 4),
    _case("vocoder", "backward", 96, 4),
    _case("vocoder", "backward-of-gates", 96, 4),
    _case("vocoder", "backward-of-x", 96, 4),
    _case("flow", "forward", 48, 4),
)


def unavailable(isa: str) -> str | None:
    """Why nothing can be counted on this machine, or None."""
    if isa == "neon":
        return emulated.unavailable()
    if native.valgrind_version() is None:
        return "there is no valgrind"
    if isa not in _cpu.build_info()["usable_isas"]:
        return f"this processor lacks {isa}, whose instructions are counted"
    return None


def configure(folder: Path, isa: str) -> None:
    """CMake on the tree, for `count`."""
    native.configure(folder, isa, **(emulated.DEFINITIONS if isa == "neon" else {}))


def count(folder: Path, isa: str) -> dict[str, int]:
    """Builds the program in a folder that was configured; instructions by case."""
    program, names = native.build(folder), [case.name for case in CASES]
    if isa == "neon":
        counted = emulated.instructions(program, CASES, folder)
    else:
        counted = [native.instructions(p) for p in native.callgrind(program, CASES, folder)]
    return dict(zip(names, counted, strict=True))


def committed(isa: str) -> dict[str, Any]:
    """The figures to compare with: "compiler", and "instructions" by case."""
    content: dict[str, Any] = json.loads(COMMITTED[isa].read_text(encoding="utf-8"))
    return content


def other_compiler(found: tuple[str, str], expected: Mapping[str, str]) -> str | None:
    """What differs, in words, if the committed counts are another compiler's; else None."""
    mine, theirs = (_major(*found), _major(expected["name"], expected["version"]))
    return None if mine == theirs else f"the committed counts are those of {theirs}, this is {mine}"


def complaints(counted: Mapping[str, int], expected: Mapping[str, int], isa: str) -> list[str]:
    """A sentence for each case that is further from its committed count than allowed."""
    write = f"python -m benchmarks instruction-counts --isa {isa} --write"
    found = [f"{name} has no committed count" for name in counted if name not in expected]
    found += [f"{name} is committed and wasn't counted" for name in expected if name not in counted]
    for name in counted.keys() & expected.keys():
        ratio = counted[name] / expected[name]
        times = f"{ratio:.3f} times the committed {expected[name]:,}"
        numbers = f"{counted[name]:,} instructions, {times}"
        if ratio > 1 + TOLERANCE:
            found.append(f"{name} takes {numbers}: it became slower")
        elif ratio < 1 - TOLERANCE:
            found.append(f"{name} takes {numbers}: `{write}` commits to that")
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
    parser.add_argument("--isa", choices=COMMITTED, default="avx2", help="default: avx2")
    parser.add_argument("--write", action="store_true", help="commit to them")
    parser.add_argument("--folder", type=Path, help="default: build/count-ISA")
    options = parser.parse_args(arguments)
    isa = options.isa
    if reason := unavailable(isa):
        raise SystemExit(f"Not counted: {reason}.")

    where = environment()  # the commit that runs, whatever is edited meanwhile
    folder = options.folder or native.ROOT / "build" / f"count-{isa}"
    configure(folder, isa)
    name, version = native.compiler(folder)
    before = committed(isa) if COMMITTED[isa].exists() else {"instructions": {}}
    counted = count(folder, isa)
    Console(width=100).print(table(counted, before["instructions"]))
    if options.write:
        by = (
            {"qemu": emulated.version()}
            if isa == "neon"
            else {"valgrind": native.valgrind_version()}
        )
        versions = {**where.pop("versions"), **by}
        compiler = {"name": name, "version": version}
        of = {"versions": versions, "compiler": compiler, "isa": isa, "instructions": counted}
        return write_results(COMMITTED[isa], {**where, **of})
    if different := other_compiler((name, version), before["compiler"]):
        raise SystemExit(f"Not compared: {different}.")
    if wrong := complaints(counted, before["instructions"], isa):
        raise SystemExit("\n".join(wrong))
