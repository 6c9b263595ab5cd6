"""`python -m benchmarks instruction-mix --backend B`: what GPU kernels are made of, with no GPU.

The kernels that the reference workload launches in bfloat16, disassembled: how many instructions of
each kind a kernel has, and each of its loops. That is code, not time: how often a loop is gone
through, and what waits for what, isn't in it. Loops named "aside" divide integers, which the
workload's sizes, powers of two, never make them do.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environment import environment, write_results
from benchmarks.operators.workloads import WORKLOADS, for_gpu

# The first that fits; what is left are integers, addresses, comparisons and moves.
KINDS = (
    ("products", r"HMMA|HGMMA|UTC\w*MMA"),
    ("special functions", r"MUFU"),
    ("asynchronous copies", r"LDGSTS|UBLKCP|UTMALDG"),
    ("global loads", r"LDG|LD\.E"),
    ("global stores", r"STG|ST\.E"),
    ("shared memory", r"LDSM|LDS|STS|STSM"),
    ("floats", r"F(ADD|MUL|FMA|SETP|SEL|MNMX)|H(ADD|MUL|FMA|SET|MNMX)"),
    ("conversions and shuffles", r"F2|I2F|PRMT|SHFL|MOVM"),
    ("waiting", r"BAR|DEPBAR|LDGDEPBAR|SYNCS|WARPSYNC|WARPGROUP|MEMBAR|FENCE"),
    ("branches", r"BRA|BSSY|BSYNC|BREAK|EXIT|CALL|RET|NOP"),
)
ADDRESSES = "integers and moves"
# Of the CUDA module: those instances that the plans of the reference workload take.
CUDA_KERNELS = (
    r"13layers_kernelINS0_5ShapeI13__nv_bfloat16Li128ELi128E",
    r"fused_backward_kernelI13__nv_bfloat16Li4E",
)


@dataclass(frozen=True)
class Loop:
    """Instructions [first, last] of a kernel, the whole of it where it is no loop."""

    first: int
    last: int
    kinds: dict[str, int]
    aside: bool = False

    @property
    def total(self) -> int:
        return self.last + 1 - self.first


def kind(instruction: str) -> str:
    """What an instruction is for."""
    return next((name for name, of in KINDS if re.match(of, instruction)), ADDRESSES)


def kernels_of(disassembly: str) -> dict[str, list[Loop]]:
    """By kernel: all of it, then its loops."""
    bodies = re.split(r"^\.text\.(\S+):\n", disassembly, flags=re.MULTILINE)[1:]
    return {
        name: loops_of(re.split(r"^\s*\.section", body, maxsplit=1, flags=re.MULTILINE)[0])
        for name, body in zip(bodies[::2], bodies[1::2], strict=True)
    }


def loops_of(body: str) -> list[Loop]:
    """All of a kernel, then every loop: what lies between a label and a jump back to it."""
    names: list[str] = []
    labels: dict[str, int] = {}
    found: set[tuple[int, int]] = set()
    for line in body.splitlines():
        if label := re.match(r"(\.L\w+):", line):
            labels[label[1]] = len(names)
        elif code := re.match(r"\s+/\*\w+\*/\s+(?:@!?U?P\w+ )?\s*(\S+)(.*);", line):
            names.append(code[1])
            jump = re.search(r"`\((\.L\w+)\)", code[2]) if code[1].startswith("BRA") else None
            if jump and jump[1] in labels and labels[jump[1]] < len(names) - 1:
                found.add((labels[jump[1]], len(names) - 1))

    def loop(first: int, last: int) -> Loop:
        inside = names[first : last + 1]
        inner = not any(a > first and b <= last or a >= first and b < last for a, b in found)
        kinds = Counter(map(kind, inside))
        divides = all(any(word in n for n in inside) for word in ("RCP", "I2F"))
        aside = inner and divides and not kinds["products"]
        return Loop(first, last, dict(kinds.most_common()), aside)

    return [loop(0, len(names) - 1), *(loop(*span) for span in sorted(found))]


def _tool(name: str) -> Path:
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        raise SystemExit(f"triton isn't installed, which brings {name}")
    return Path(spec.origin).parent / "backends" / "nvidia" / "bin" / name


def disassembled(cubin: Path) -> str:
    """By nvdisasm."""
    command = [str(_tool("nvdisasm")), "-c", str(cubin)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def of_cuda(arch: str, folder: Path) -> Iterator[tuple[str, list[Loop]]]:
    """The kernels of the built module."""
    import wavenet_kernels._cuda as _cuda

    extract = [str(_tool("cuobjdump")), "--extract-elf", f"sm_{arch}", _cuda.__file__]
    subprocess.run(extract, cwd=folder, capture_output=True, check=True)
    for cubin in sorted(folder.glob("*.cubin")):
        # Reading what there is takes a moment, disassembling all of it minutes.
        if not any(re.search(name.encode(), cubin.read_bytes()) for name in CUDA_KERNELS):
            continue
        for name, loops in kernels_of(disassembled(cubin)).items():
            if any(re.search(kernel, name) for kernel in CUDA_KERNELS):
                yield name, loops


def of_triton(arch: str, folder: Path) -> Iterator[tuple[str, list[Loop]]]:
    """The kernels that Triton's compiler makes."""
    from benchmarks.compiled import triton_kernels

    workload = for_gpu(next(w for w in WORKLOADS if w.name == "reference"))
    chip = int(arch.rstrip("af"))
    for launch in triton_kernels.launches(workload, "bfloat16", chip, every_call=False):
        cubin = folder / f"{launch.kernel.__name__}.cubin"
        cubin.write_bytes(triton_kernels.compile_launch(launch, chip).asm["cubin"])
        yield from kernels_of(disassembled(cubin)).items()


def table(name: str, loops: Sequence[Loop]) -> Table:
    """A line for the kernel and each of its loops of some size."""
    kinds = [name for name, _ in KINDS] + [ADDRESSES]
    out = Table(name, "all", *kinds)
    for loop in loops:
        if loop.total >= 16:
            where = "kernel" if loop is loops[0] else f"{loop.first}-{loop.last}"
            counts = (str(loop.kinds.get(name, "")) for name in kinds)
            out.add_row(where + ", aside" * loop.aside, str(loop.total), *counts)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, disassemble, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks instruction-mix")
    parser.add_argument("--backend", choices=("triton", "cuda"), required=True)
    parser.add_argument("--arch", default="90a", help="e.g. 80, 90a, 100 (default 90a)")
    parser.add_argument("--out", type=Path, help="JSON file as well, with versions and commit")
    options = parser.parse_args(arguments)
    read = of_cuda if options.backend == "cuda" else of_triton
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, loops in read(options.arch, Path(folder)):
            Console(width=190).print(table(name, loops))
            rows.append({"kernel": name, "loops": [vars(loop) for loop in loops]})
    if options.out:
        write_results(options.out, {**environment(), "arch": options.arch, "rows": rows})
