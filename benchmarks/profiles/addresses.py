"""Where the CPU kernels' program spends itself: perf's samples, or callgrind's instructions.

Most of a kernel is inlined into one function, so that functions say little. An address says all:
the debug information gives the chain of inlined functions it belongs to, and its callers' addresses
go on from there. `category` reads such a chain, innermost first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import programs
from benchmarks.compiled import native
from benchmarks.compiled.native import Case
from benchmarks.profiles.torch_profiler import ROWS

FREQUENCY = 1000  # samples a second of the processor's time


@dataclass(frozen=True)
class Frame:
    """A function, compiled or inlined: its name (its class's, of a member) and file."""

    function: str
    file: str = ""


WAYS = ("tile", "backward_tile", "backward_x_tile")
Chain = tuple[Frame, ...]
Cost = tuple[float, Chain]


# By function; the innermost that is listed decides.
FUNCTIONS = {
    **dict.fromkeys(("gather", "gather_fast", "gather_plain", "Source"), "gathering inputs"),
    **dict.fromkeys(("add_cond", "gate_gradient_rows"), "gate"),
    **dict.fromkeys(("pack", "pack_at", "pack_panel", "pack_vector", "backward_pack"), "packing"),
    **dict.fromkeys(("sum_slices", "sum_rows", "add_block", "pass1"), "sums of gradients"),
    **dict.fromkeys(("load_matrix", "prefetch_share", "copy_rows", "load_block"), ROWS),
    **dict.fromkeys(("convolve", "sweep_conv", "sweep_gated"), "taps"),
    **dict.fromkeys(("add_fast_product", "add_conv_gradient"), "taps"),
    **dict.fromkeys(("sweep", "sweep_panel", "add_out_gradient"), "1x1s"),
}


def category(chain: Chain) -> str:
    """What the work at an address is for."""
    inside = {frame.function for frame in chain}
    for at, frame in enumerate(chain):
        if frame.file == "gate.h":
            return "gate"
        if frame.function == "operator()" and frame.file in ("tile.h", "backward.h"):
            # What is done with the columns of a product: a becomes z, gz becomes ga, or rows are
            # written.
            outer = {frame.function for frame in chain[at:]}
            if outer & {"sweep_gated", "sweep_conv", "sweep"}:
                gated = "sweep_gated" in outer or "backward_tile" in inside
                return "gate" if gated else ROWS
        if frame.function in FUNCTIONS:
            return FUNCTIONS[frame.function]
    return "everything else"


def part(chain: Chain) -> str:
    """Which product the address belongs to, if any, and on which way through a tile."""
    functions = [frame.function for frame in chain]
    product = next((name for name in ("accumulate", "outer") if name in functions), "")
    way = next((name for name in WAYS if name in functions), "")
    return " in ".join(filter(None, (product, way))) or "outside of tiles"


def rows(costs: Iterable[Cost], unit: str) -> list[dict[str, Any]]:
    """By category all that is within what is counted, and by part each category."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for cost, chain in costs:
        if any(frame.function == native.COUNTED for frame in chain):
            found[category(chain)][part(chain)] += cost
    return [
        {
            "category": name,
            unit: sum(parts.values()),
            "parts": dict(sorted(parts.items(), key=lambda item: -item[1])),
        }
        for name, parts in found.items()
    ]


def perf_works() -> bool:
    """Whether there is a perf that may sample its own children."""
    if shutil.which("perf") is None:
        return False
    command = ["perf", "record", "-q", "-e", "cpu-clock", "-o", "/dev/null", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def by_perf(program: Path, case: Case, times: int, folder: Path) -> list[Cost]:
    """Milliseconds a pass, sample by sample of the processor's time: waiting for one is none."""
    data = folder / "perf.data"
    record = ("perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY))
    unwound = ("--call-graph", "dwarf,16384")  # bytes of stack: a tile's and its callers'
    programs.run(*record, *unwound, "-o", str(data), str(program), str(times), case.argument)
    script = ("perf", "script", "-i", str(data), "--no-inline", "-F", "ip,sym,dso")
    stacks = [
        re.findall(r"^\s+([0-9a-f]+) (.*) \((.*)\)$", stack, re.MULTILINE)
        for stack in programs.run(*script).split("\n\n")
    ]
    mine = str(program)
    addresses = {
        int(address, 16) - (depth > 0)  # a caller's is where it goes on
        for stack in stacks
        for depth, (address, _, file) in enumerate(stack)
        if file == mine
    }
    inlined = inlined_at(program, addresses)
    return [
        (
            1e3 / FREQUENCY / times,
            tuple(
                frame
                for depth, (address, symbol, file) in enumerate(stack)
                for frame in (
                    inlined[int(address, 16) - (depth > 0)] if file == mine else (Frame(symbol),)
                )
            ),
        )
        for stack in stacks
        if stack
    ]


def by_callgrind(program: Path, case: Case, folder: Path) -> list[Cost]:
    """A cost for each instruction's address in each place that its function is called from."""
    options = ("--dump-instr=yes", "--compress-strings=no", "--compress-pos=no")
    (profile,) = native.callgrind(program, [case], folder, *options)
    own, calls, objects = parse_callgrind(profile.read_text())
    base = min(own[native.COUNTED]) - _address_of(program, native.COUNTED)
    mine = str(program)
    sites = {at for callers in calls.values() for (_, at) in callers}
    known = {at for function, costs in own.items() if objects[function] == mine for at in costs}
    inlined = inlined_at(program, {at - base for at in known | sites})

    def frames(function: str, at: int) -> Chain:
        return inlined[at - base] if objects[function] == mine else (Frame(function),)

    contexts: dict[str, list[Cost]] = {}

    def callers(function: str, pending: frozenset[str]) -> list[Cost]:
        """Shares of a function's callers, as chains from the place of the call outwards."""
        if function not in contexts:
            total = sum(calls[function].values())
            found = [
                (cost / total * share, (*frames(caller, at), *chain))
                for (caller, at), cost in calls[function].items()
                if total and caller not in pending
                for share, chain in callers(caller, pending | {caller})
            ]
            contexts[function] = found or [(1.0, ())]
        return contexts[function]

    return [
        (cost * share, (*frames(function, at), *chain))
        for function, costs in own.items()
        for at, cost in costs.items()
        for share, chain in callers(function, frozenset([function]))
    ]


Own = dict[str, dict[int, float]]
Calls = dict[str, dict[tuple[str, int], float]]


def parse_callgrind(text: str) -> tuple[Own, Calls, dict[str, str]]:
    """Costs by function and address, inclusive costs by callee and place, each function's file."""
    own: Own = defaultdict(lambda: defaultdict(float))
    calls: Calls = defaultdict(lambda: defaultdict(float))
    objects: dict[str, str] = {}
    file = function = callee = ""
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if line.startswith("0x"):
            at, _, cost = line.split()[:3]
            if callee:
                calls[callee][function, int(at, 16)] += int(cost)
                callee = ""
            else:
                own[function][int(at, 16)] += int(cost)
        elif not equals:
            continue
        elif key == "ob":
            file = value
        elif key == "fn":
            function = value
            objects[function] = file
        elif key == "cfn":
            callee = value
    return own, calls, objects


def inlined_at(program: Path, addresses: Iterable[int]) -> dict[int, Chain]:
    """The functions at each address of the program, innermost first."""
    wanted = sorted(addresses)
    command = ["addr2line", "--inlines", "--functions", "--addresses", "--exe", str(program)]
    said = subprocess.run(
        command, input="\n".join(map(hex, wanted)), capture_output=True, text=True, check=True
    ).stdout
    found: dict[int, Chain] = {}
    for block in re.split(r"^(?=0x)", said, flags=re.MULTILINE):
        address, *lines = block.splitlines() or [""]
        if lines:
            pairs = zip(lines[::2], lines[1::2], strict=True)
            found[int(address, 16)] = tuple(_frame(name, place) for name, place in pairs)
    return found


def _frame(name: str, place: str) -> Frame:
    return Frame(_base_name(name), Path(place.partition(":")[0]).name)


def _base_name(name: str) -> str:
    """Of a mangled name, or of the plain one that a function local to a file has."""
    namespaces = r"(?:7wavenet)?(?:3cpu)?(?:\d+in_[a-z0-9]+_(?:float|double))?(?:12_GLOBAL__N_1)?"
    found = re.match(rf"_Z(Z*)N[VrK]*{namespaces}(\d+)(\w+)", name)
    if found is not None:  # _ZZ: something local to a function, which is a lambda
        return "operator()" if found[1] else found[3][: int(found[2])]
    return name if name.startswith("operator") else re.split("[<(]", name, maxsplit=1)[0]


def _address_of(program: Path, symbol: str) -> int:
    lines = programs.run("nm", str(program)).splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.endswith(f" {symbol}"))
