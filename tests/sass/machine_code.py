"""Kernels as machine code: out of a cubin, by the nvdisasm that comes with Triton, decoded.

Disassemblies are kept in build/sass.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import decoder

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "sass"
# Of .nv.info: where parameters lie, how many registers a thread takes; values of several bytes.
_PARAM_CBANK, _REGCOUNT, _SEVERAL_BYTES = 0x0A, 0x2F, 4
_RESERVED = 0x400  # bytes of shared memory that are the system's on sm_90


@dataclass(frozen=True)
class Kernel:
    """A decoded kernel."""

    name: str
    text: tuple[str, ...]  # of each instruction
    code: bytes  # their records
    encoded: bytes  # as the hardware has them, 16 bytes each; `with_text` leaves that as it is
    labels: dict[str, int]
    constants: dict[int, bytes]  # by bank
    parameters_at: int  # in bank 0
    parameter_bytes: int
    shared_base: int  # bytes of shared memory that are the system's
    registers: int  # a thread

    def with_text(self, place: int, text: str) -> Kernel:
        """The kernel with another instruction there."""
        lines = [*self.text[:place], text, *self.text[place + 1 :]]
        size = decoder.INSTRUCTION_BYTES
        before, after = self.code[: place * size], self.code[(place + 1) * size :]
        code = before + decoder.decode(text, self.labels) + after
        return replace(self, text=tuple(lines), code=code)


@functools.cache
def nvidia_tool(name: str) -> Path:
    """nvdisasm or cuobjdump, of Triton's wheel."""
    triton = importlib.util.find_spec("triton")
    assert triton is not None and triton.origin is not None, "triton is not installed"
    return Path(triton.origin).parent / "backends" / "nvidia" / "bin" / name


def kernel_names(cubin: bytes) -> list[str]:
    return [name[len(".text.") :] for name, _ in _sections(cubin) if name.startswith(".text.")]


def load(cubin: bytes, name: str) -> Kernel:
    """The kernel of that name."""
    return _decoded(cubin, name, _disassemble(cubin, name))


def load_all(cubin: bytes) -> dict[str, Kernel]:
    """Every kernel by its name: quicker than one by one if there are many small ones."""
    disassembly = _disassemble(cubin)
    return {name: _decoded(cubin, name, disassembly) for name in kernel_names(cubin)}


def _decoded(cubin: bytes, name: str, disassembly: str) -> Kernel:
    sections = dict(_sections(cubin))
    lines = _instructions(disassembly, name)
    labels = {label: i for i, (found, _) in enumerate(lines) for label in found}
    records = []
    for i, (_, text) in enumerate(lines):
        try:
            records.append(decoder.decode(text, labels))
        except decoder.UnknownInstructionError as problem:
            raise decoder.UnknownInstructionError(f"{name}, {16 * i:#x}: {problem}") from problem
    constants = {}
    for bank in range(8):
        constants[bank] = sections.get(f".nv.constant{bank}.{name}", b"")
    at, size = _parameters(sections[f".nv.info.{name}"])
    shared = len(sections.get(f".nv.shared.{name}", b""))
    assert shared in (0, _RESERVED), f"{name} has {shared} bytes of static shared memory"
    text = tuple(text for _, text in lines)
    code, encoded = b"".join(records), sections[f".text.{name}"]
    registers = _registers(sections[".nv.info"], _symbol(cubin, name))
    return Kernel(name, text, code, encoded, labels, constants, at, size, shared, registers)


def _disassemble(cubin: bytes, name: str = "") -> str:
    """Of one kernel, or of all."""
    key = hashlib.sha256(cubin + name.encode()).hexdigest()
    made = FOLDER / "text" / f"{key[:32]}.sass"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        new = made.with_suffix(f".{os.getpid()}")
        new.write_bytes(cubin)
        command = [str(nvidia_tool("nvdisasm")), "-c", "-novliw"]
        command += ["-fun", str(_symbol(cubin, name))] if name else []
        done = subprocess.run([*command, str(new)], capture_output=True, text=True, check=True)
        new.write_text(done.stdout)
        os.replace(new, made)
    return made.read_text()


def _instructions(disassembly: str, name: str) -> list[tuple[list[str], str]]:
    """Each instruction of the kernel and the labels before it."""
    _, found, body = disassembly.partition(f"\n.text.{name}:\n")
    assert found, f"nvdisasm prints no kernel {name}"
    lines: list[tuple[list[str], str]] = []
    labels = [f".text.{name}", name]
    for line in body.splitlines():
        if re.match(r"\s*\.section", line):
            break
        if label := re.fullmatch(r"(\S+):\s*", line):
            labels.append(label[1])
        elif match := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", line):
            assert int(match[1], 16) == 16 * len(lines), f"{name}: {line}"
            lines.append((labels, match[2]))
            labels = []
    return lines


def _sections(cubin: bytes) -> list[tuple[str, bytes]]:
    """Names and contents of an ELF file's sections; zeros for those that take no room in it."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    rows = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + i * size) for i in range(count)]
    names_at = rows[names][4]
    found = []
    for row in rows:
        start = names_at + row[0]
        name = cubin[start : cubin.index(b"\0", start)].decode()
        at, length = row[4], row[5]
        found.append((name, bytes(length) if row[1] == 8 else cubin[at : at + length]))
    return found


def _symbol(cubin: bytes, name: str) -> int:
    """The number of the kernel's symbol."""
    sections = dict(_sections(cubin))
    table, names = sections[".symtab"], sections[".strtab"]
    for i in range(len(table) // 24):
        (start,) = struct.unpack_from("<I", table, 24 * i)
        if names[start : names.index(b"\0", start)].decode() == name:
            return i
    raise AssertionError(f"no symbol {name}")


def _parameters(info: bytes) -> tuple[int, int]:
    """Where in constant bank 0 the parameters lie, and how many bytes they are."""
    for attribute, at in _attributes(info):
        if attribute == _PARAM_CBANK:
            _, offset, length = struct.unpack_from("<IHH", info, at)
            return offset, length
    raise AssertionError("the cubin doesn't say where parameters lie")


def _registers(info: bytes, symbol: int) -> int:
    """Of a thread of the kernel with that symbol."""
    for attribute, at in _attributes(info):
        if attribute == _REGCOUNT:
            of, count = struct.unpack_from("<II", info, at)
            if of == symbol:
                return count
    raise AssertionError("the cubin doesn't say how many registers a kernel takes")


def _attributes(info: bytes) -> Iterator[tuple[int, int]]:
    """Of a section .nv.info: those with values of several bytes, and where these are."""
    at = 0
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == _SEVERAL_BYTES:  # otherwise the value is `size` itself
            yield attribute, at
            at += size
