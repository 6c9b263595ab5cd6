"""Replays traces of blocks on one multiprocessor, by replay.cpp, which is compiled when it changes.

Its header is made here, of the kinds of instructions, the reasons to wait and the constants.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import executor
import numpy as np
from machine_code import FOLDER, Kernel

from benchmarks.model.assumptions import CONSTANTS, L1_AND_SHARED_BYTES

SOURCE = Path(__file__).with_name("replay.cpp")
_COMPILE = ["g++", "-std=c++17", "-O2", "-Wall", "-fPIC", "-shared", f"-I{executor.ENGINE}"]

# An instruction of the uniform datapath (UIADD3) has a U before its name, and is UNIFORM.
KINDS = {
    "ALU": "MOV IADD3 VIADD LEA LOP3 SHF SHL PRMT SGXT IABS MNMX IMNMX VIMNMX VIADDMNMX SEL ISETP "
    "PLOP3 P2R R2P R2UR VOTE VOTEU CS2R FSEL FMNMX FSETP F2FP HSETP2 ELECT",
    "INTEGER_PRODUCT": "IMAD",
    "FMA": "FADD FMUL FFMA HADD2 HMUL2 HFMA2",
    "SPECIAL_FUNCTION": "MUFU I2F I2FP F2I F2F POPC FLO BREV",
    "UNIFORM": "",
    "LOAD_SHARED": "LDS LDSM",
    "STORE_SHARED": "STS STSM",
    "LOAD_GLOBAL": "LDG",
    "STORE_GLOBAL": "STG",
    "LOAD_LOCAL": "LDL",
    "STORE_LOCAL": "STL",
    "COPY": "LDGSTS",
    "COMMIT_COPIES": "LDGDEPBAR",
    "WAIT_COPIES": "DEPBAR",
    "LOAD_CONSTANT": "LDC",
    "SPECIAL_REGISTER": "S2R S2UR",
    "SHUFFLE": "SHFL",
    "MMA": "HMMA",
    "WGMMA": "HGMMA",
    "WAIT_PRODUCTS": "WARPGROUP",
    "BARRIER": "BAR",
    "OTHER": "BRA BRX CALL RET EXIT NOP BSSY BSYNC WARPSYNC FENCE MEMBAR BREAK",
}
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}
# Why a scheduler issued nothing; of its warps' reasons, the last of this list.
WAITS = {
    "NONE": "issued",
    "FOR_NOTHING": "nothing left",
    "FOR_BARRIER": "barrier",
    "FOR_STALL_COUNT": "stall count",
    "FOR_SCOREBOARD": "scoreboard",
    "FOR_COPIES": "copies",
    "FOR_PRODUCTS": "wgmma",
    "FOR_PIPE": "pipe",
    "FOR_TENSOR_CORES": "tensor cores",
    "FOR_SPECIAL_FUNCTIONS": "special functions",
    "FOR_MEMORY_QUEUE": "memory queue",
}
_INSTRUCTION = struct.Struct("<6i")  # as replay.cpp has it
_ENCODED_BYTES = 16


class UnknownInstructionError(Exception):
    """An instruction of which the model doesn't know what it takes."""


class _Result(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_double) for name in ("cycles", "issued", "l2_bytes", "dram_bytes")),
        ("busy", ctypes.c_double * len(KINDS)),
        ("waits", ctypes.c_double * len(WAITS)),
    ]


@dataclass(frozen=True)
class Replayed:
    """What a multiprocessor did with the blocks that it held."""

    cycles: float
    issued: float  # instructions of warps
    l2_bytes: float
    dram_bytes: float
    busy: dict[str, float]  # cycles of pipes, by the kind of instruction
    waits: dict[str, float]  # cycles in which a scheduler issued nothing, by reason, of all four
    waited: np.ndarray  # cycles that warps spent before each instruction

    def shares(self) -> dict[str, float]:
        """Of the cycles: what each pipe was busy; instructions a cycle and scheduler."""
        each = {
            "tensor cores": self.busy["MMA"] + self.busy["WGMMA"],
            "special functions": self.busy["SPECIAL_FUNCTION"],
            "ALU": self.busy["ALU"],
            "FMA": (self.busy["FMA"] + self.busy["INTEGER_PRODUCT"]) / 2,
            "issue": self.issued,
        }
        whole = {
            "shared memory": self.busy["LOAD_SHARED"],
            "L1": self.busy["LOAD_GLOBAL"],
            "L2": self.l2_bytes / CONSTANTS["l2_rate"].value,
            "DRAM": self.dram_bytes / CONSTANTS["dram_rate"].value,
        }
        shares = {name: cycles / 4 for name, cycles in each.items()} | whole
        return {name: cycles / self.cycles for name, cycles in shares.items()}

    def idle(self) -> dict[str, float]:
        """Of the schedulers' cycles: what was waited for."""
        shares = {WAITS[name]: cycles / 4 / self.cycles for name, cycles in self.waits.items()}
        return {why: share for why, share in shares.items() if why != WAITS["NONE"]}


def replay(
    kernel: Kernel,
    blocks: Sequence[Sequence[np.ndarray]],
    shared_bytes: int = 0,
    hot: Sequence[tuple[int, int]] = (),
    constants: Mapping[str, float] | None = None,
) -> Replayed:
    """Blocks that are held at once, each as its warps' traces (`executor.STEP`).

    shared_bytes: of all of them; what is left is L1. hot: addresses, first and last, that L2 has
    from the start. constants: others than those of the table.
    """
    code = b"".join(map(_timing, range(len(kernel.text)), [kernel] * len(kernel.text)))
    warps = [np.ascontiguousarray(warp) for block in blocks for warp in block]
    values = {name: constant.value for name, constant in CONSTANTS.items()} | dict(constants or {})
    result, waited = _Result(), np.zeros(len(kernel.text))
    ranges = (ctypes.c_uint64 * (2 * len(hot)))(*(end for both in hot for end in both))
    _library().replay(
        (ctypes.c_void_p * len(warps))(*(warp.ctypes.data for warp in warps)),
        (ctypes.c_uint64 * len(warps))(*map(len, warps)),
        len(blocks[0]),
        len(blocks),
        code,
        (ctypes.c_double * len(values))(*(values[name] for name in CONSTANTS)),
        ranges,
        len(hot),
        ctypes.c_uint64(max(0, L1_AND_SHARED_BYTES - shared_bytes)),
        ctypes.byref(result),
        ctypes.c_void_p(waited.ctypes.data),
    )
    if not result.cycles:
        raise RuntimeError(f"{kernel.name}: the replay ends in a deadlock")
    return Replayed(
        *(getattr(result, name) for name in ("cycles", "issued", "l2_bytes", "dram_bytes")),
        dict(zip(KINDS, result.busy, strict=True)),
        dict(zip(WAITS, result.waits, strict=True)),
        waited,
    )


def kind_of(text: str) -> str:
    """The kind of an instruction, by its text."""
    name = _name(text)
    kind = _KIND_OF.get(name)
    if kind is None and name.startswith("U") and name[1:] in _KIND_OF:
        return "UNIFORM"
    if kind is None:
        raise UnknownInstructionError(f"{text}: the opcode {name} is of no kind that is modelled")
    if kind == "WAIT_PRODUCTS" and "DEPBAR" not in text:
        return "OTHER"
    return kind


def _name(text: str) -> str:
    return re.sub(r"^@\S+\s+", "", text).split()[0].split(".")[0]


def _timing(place: int, kernel: Kernel) -> bytes:
    """The instruction as replay.cpp has it; bits 105 to 121 of the encoding are the compiler's.

    They are: cycles to stall, whether to yield, the scoreboard of the result and that of operands,
    those to wait for.
    """
    text = kernel.text[place]
    kind = kind_of(text)
    high = kernel.encoded[_ENCODED_BYTES * place + 8 : _ENCODED_BYTES * (place + 1)]
    control = int.from_bytes(high, "little") >> 41
    stall, written, read, waits_for = (
        control & 15,
        control >> 5 & 7,
        control >> 8 & 7,
        control >> 11 & 63,
    )
    number = _number(kind, text)
    return _INSTRUCTION.pack(list(KINDS).index(kind), stall, written, read, waits_for, number)


def _number(kind: str, text: str) -> int:
    """See Instruction::number of replay.cpp."""
    if kind == "STORE_GLOBAL":
        size = re.search(r"\.(128|64|U16|U8)\b", text)
        return {"128": 16, "64": 8, "U16": 2, "U8": 1}[size[1]] if size else 4
    if kind == "WGMMA":
        shape = re.search(r"64x(\d+)x", text)
        assert shape is not None, text
        return int(shape[1]) // 2
    if kind in ("WAIT_COPIES", "WAIT_PRODUCTS"):
        return int(text.replace(",", " ").split()[-1], 16)
    return 0


def header() -> str:
    """constants.h."""
    constants = "".join(
        f"  double {name};  // {c.unit} {c.what}\n" for name, c in CONSTANTS.items()
    )
    return (
        f"struct Constants {{\n{constants}}};\n"
        f"enum Kind {{ {', '.join(KINDS)} }};\n"
        f"enum Wait {{ {', '.join(f'WAIT_{name}' for name in WAITS)} }};\n"
        "struct Result {\n"
        "  double cycles, issued, l2_bytes, dram_bytes;\n"
        f"  double busy[{len(KINDS)}], waits[{len(WAITS)}];\n"
        "};\n"
    )


@functools.cache
def _library() -> Any:
    parts = [header(), " ".join(_COMPILE), SOURCE.read_text(), _trace_header()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    made = FOLDER / f"replay-{key}.so"
    if not made.exists():
        include = FOLDER / f"replay-{key}-{os.getpid()}"
        include.mkdir(parents=True, exist_ok=True)
        (include / "constants.h").write_text(header())
        new = include / made.name
        subprocess.run([*_COMPILE, f"-I{include}", str(SOURCE), "-o", str(new)], check=True)
        os.replace(new, made)
        (include / "constants.h").unlink()
        include.rmdir()
    return ctypes.CDLL(str(made))


def _trace_header() -> str:
    return (executor.ENGINE / "trace.h").read_text()
