"""From nvdisasm's text of an instruction to the record that engine/ executes.

NVIDIA documents the names of SASS instructions and little more. What operands and modifiers mean
was found by compiling small kernels; engine/ says it where it is computed. This file knows only
the grammar:

    @!P0 ISETP.LT.U32.AND P1, PT, R4, c[0x0][0x168], !P2
    guard name.modifiers  operands

Nothing is skipped: a name, a modifier or an operand that is not in the table below is refused.
"""

from __future__ import annotations

import functools
import re
import struct
from dataclasses import dataclass

# names | operands | modifiers that engine/ acts on | modifiers that change nothing that it computes
#
# Operands, in the order of the text: D a register to write; T and U predicates to write; A B C E
# sources, a memory operand among them; Q and R predicates to read, q anything for Q; L a label; G
# the barrier of wgmma; P all predicates as bits. "?": it may be absent.
# Alternatives are separated by "/". The first name is that of the operation in engine/. An
# instruction of the uniform datapath (UIADD3, UR4, UP0) is the one without the U.
_TABLE = """
NOP              | |
MEMBAR FENCE     | | | SC ALL CTA GPU VIEW ASYNC S
MOV              | D A |
IMAD             | D T? A B C Q? | WIDE HI U32 X | MOV IADD SHL
IADD3 VIADD      | D T? U? A B C? Q? R? | X 64 |
LEA              | D T? A B E Q? / D T? A B C E Q? | HI X SX32 |
LOP3             | T? D A B C E Q? | | LUT
SHF              | D A B C | L R U32 S32 U64 S64 HI W |
SHL              | D A B | W | U32
PRMT             | D A B C |
SGXT             | D A B | U32 |
IABS             | D A |
POPC             | D A |
FLO              | D A | U32 SH |
BREV             | D A |
MNMX IMNMX VIMNMX | D A B Q | U32 |
VIADDMNMX        | D A B C Q | U32 |
SEL              | D A B Q |
ISETP            | T U A B Q R? | F LT EQ LE GT NE GE U32 AND OR XOR EX |
PLOP3            | T U A B C E q | | LUT
P2R              | D P A B | |
R2P              | P A B | |
R2UR             | D A |
VOTE VOTEU       | T Q / D T Q | ANY ALL EQ |
SHFL             | T D A B C | IDX UP DOWN BFLY |
S2R S2UR         | D A |
CS2R             | D A | 32 |
LDC              | D A | U8 U16 64 |
FADD             | D A B | FTZ SAT |
FMUL             | D A B | FTZ SAT |
FFMA             | D A B C | FTZ SAT RM RP RZ |
FSEL             | D A B Q | FTZ |
FMNMX            | D A B Q | FTZ NAN |
FSETP            | T U A B Q | FTZ LT EQ LE GT NE GE LTU EQU LEU GTU NEU GEU NUM NAN AND OR XOR |
MUFU             | D A | RCP EX2 TANH LG2 RSQ SQRT |
F2FP             | D A B | BF16 | F16 F32 PACK_AB
F2F              | D A | BF16 F16 | F32
F2I              | D A | FTZ U32 U64 S64 TRUNC | NTZ
I2F I2FP         | D A | U32 U64 S64 RP | S32 F32
HADD2            | D A B | F32 BF16_V2 |
HMUL2            | D A B | BF16_V2 |
HFMA2            | D A B C | BF16_V2 | MMA
HSETP2           | T U A B Q | LT EQ LE GT NE GE LTU EQU LEU GTU NEU GEU AND OR XOR BF16_V2 |
LDG              | D A | | E CONSTANT LTC64B LTC128B LTC256B EF EL EU LU NA
STG              | A B | | E EF EL EU LU NA
LDS              | D A | |
STS              | A B | |
LDL              | D A | | LU
STL              | A B | |
LDSM             | D A | M88 MT88 2 4 | 16
STSM             | A B | M88 MT88 2 4 | 16
LDGSTS           | A B Q? | | E BYPASS ACCESS LTC64B LTC128B LTC256B ZFILL
LDGDEPBAR        | |
DEPBAR           | A B / A | LE |
HMMA             | D A B C | 16816 1688 BF16 TF32 | F32
HGMMA            | D A C Q? G? / D A B C Q? G? | BF16 TF32 | F32
WARPGROUP        | / G B | ARRIVE DEPBAR | LE
BRA              | L / Q L | | U DIV
BRX              | A B | |
CALL             | L | | REL NOINC
RET              | A L | | REL NODEC
EXIT             | |
BAR              | A | SYNC | DEFER_BLOCKING
BSSY             | A L | |
BSYNC            | A | |
BREAK            | A | |
WARPSYNC         | A? | | ALL
ELECT            | T / D T |
"""

REGISTER, UNIFORM, PREDICATE, UNIFORM_PREDICATE, IMMEDIATE, CONSTANT, MEMORY, SPECIAL = range(1, 9)
_SPECIAL = {
    "SR_TID.X": 0,
    "SR_TID.Y": 1,
    "SR_TID.Z": 2,
    "SR_CTAID.X": 3,
    "SR_CTAID.Y": 4,
    "SR_CTAID.Z": 5,
    "SR_LANEID": 6,
    "SRZ": 7,
    "SR_CgaCtaId": 7,  # of a cluster of one block
}
_SIZES = {"128": 16, "64": 8, "U16": 2, "U8": 1}  # of a memory access, in bytes
_ACCESSES = ("LDG", "STG", "LDS", "STS", "LDL", "STL", "LDGSTS")
_PACKED = ("HADD2", "HMUL2", "HFMA2", "HSETP2")  # of registers that hold two numbers
_RZ, _URZ, _PT = 255, 63, 7
_LITERAL = r"[-+]?(\d|INF|QNAN)"
_SLOTS = "DTUABCEQR"
_STORED = {"q": "Q", "G": "E"}  # where other slots' operands go

_OPERAND = struct.Struct("<10iq")  # as engine/instruction.h has them
_INSTRUCTION = struct.Struct("<8i2Q")
_TARGET_AT = 16
INSTRUCTION_BYTES = _INSTRUCTION.size + len(_SLOTS) * _OPERAND.size


class UnknownInstructionError(Exception):
    """An instruction that is not in the table."""


class _Form:
    """A line of the table."""

    def __init__(self, line: str) -> None:
        names, operands, modifiers, hints = [*map(str.strip, line.split("|")), "", ""][:4]
        self.names = names.split()
        self.patterns = [pattern.split() for pattern in operands.split("/")]
        self.modifiers = modifiers.split()
        self.hints = hints.split()


_FORMS = [_Form(line) for line in _TABLE.strip().splitlines()]
_BY_NAME = {name: form for form in _FORMS for name in form.names}
OPERATIONS = [form.names[0] for form in _FORMS]
MODIFIERS = sorted({modifier for form in _FORMS for modifier in form.modifiers})


def header() -> str:
    """operations.h, which engine/ is compiled with."""
    operations = ", ".join(f"OP_{name}" for name in OPERATIONS)
    modifiers = ", ".join(f"M_{name}" for name in MODIFIERS)
    return f"enum Operation {{ {operations} }};\nenum Modifier {{ {modifiers} }};\n"


def decode(text: str, labels: dict[str, int]) -> bytes:
    """The record of one instruction; `labels`: the instructions' numbers that they stand for."""
    try:
        target, record = _decode(text)
        if target is None:
            return record
        return record[:_TARGET_AT] + struct.pack("<i", labels[target]) + record[_TARGET_AT + 4 :]
    except (UnknownInstructionError, KeyError) as problem:
        raise UnknownInstructionError(f"{text}: {problem}") from problem


@functools.cache
def _decode(text: str) -> tuple[str | None, bytes]:
    """The label that it jumps to, if any, and the record without that."""
    guard, name, modifiers, operands = _split(text)
    guarded = Operand(PREDICATE, _PT) if guard is None else _parse(guard)
    form, uniform = _BY_NAME.get(name), False
    if form is None and name.startswith("U"):
        form, uniform = _BY_NAME.get(name[1:]), True
    if form is None:
        raise UnknownInstructionError(f"the opcode {name} is not known")
    flags, columns = 0, 0
    for modifier in modifiers:
        if name == "HGMMA" and (shape := re.fullmatch(r"64x(\d+)x(8|16)", modifier)):
            columns = int(shape[1])
        elif modifier in form.modifiers:
            flags |= 1 << MODIFIERS.index(modifier)
        elif modifier not in form.hints and not (name in _ACCESSES and modifier in _SIZES):
            raise UnknownInstructionError(f"the modifier {modifier} of {name} is not known")
    if form.names[0] in _PACKED and "F32" not in modifiers:
        operands = _join_pairs(operands, "BF16_V2" in modifiers)
    slots = _assign(form.patterns, operands)
    target = slots.pop("L", None)
    record = _INSTRUCTION.pack(
        OPERATIONS.index(form.names[0]),
        guarded.index,
        guarded.invert,
        guarded.kind == UNIFORM_PREDICATE,
        -1,
        next((_SIZES[m] for m in modifiers if m in _SIZES), 4),
        columns,
        uniform,
        flags & (1 << 64) - 1,
        flags >> 64,
    )
    parsed = {slot: _parse(operand) for slot, operand in slots.items()}
    record += b"".join(parsed[s].packed() if s in parsed else _ABSENT for s in _SLOTS)
    return None if target is None else target[2:-1], record


def _split(text: str) -> tuple[str | None, str, list[str], list[str]]:
    """Guard, name, modifiers, operands."""
    text = re.sub(r"\(\*.*?\*\)", "", text).replace(".reuse", "").strip()
    match = re.fullmatch(r"(?:@(\S+)\s+)?(\S+)\s*(.*)", text)
    assert match is not None
    name, *modifiers = match[2].split(".")
    if name in ("BRX", "RET"):  # what is added to the register stands beside it
        return match[1], name, modifiers, match[3].split()
    return match[1], name, modifiers, [o.strip() for o in re.split(r",(?![^\[]*\])", match[3]) if o]


def _join_pairs(operands: list[str], bfloat: bool) -> list[str]:
    """Two literals, the high and the low number of a register, as one."""
    joined: list[str] = []
    for operand in operands:
        if not re.match(_LITERAL, operand):
            joined.append(operand)
            continue
        if bfloat:
            bits = _float_bits(operand) >> 16
        else:
            (bits,) = struct.unpack("<H", struct.pack("<e", _float(operand)))
        if joined and joined[-1].startswith("high:"):
            joined[-1] = hex(int(joined[-1][5:]) << 16 | bits)
        else:
            joined.append(f"high:{bits}")
    return joined


def _assign(patterns: list[list[str]], operands: list[str]) -> dict[str, str]:
    """Each operand in its slot of the first pattern that all of them fit."""
    for pattern in patterns:
        left, found = list(operands), {}
        for slot in pattern:
            if left and _fits(slot[0], left[0]):
                found[_STORED.get(slot[0], slot[0])] = left.pop(0)
            elif not slot.endswith("?"):
                break
        else:
            if not left:
                found.pop("P", None)
                return found
    raise UnknownInstructionError("such operands are not known")


def _fits(slot: str, operand: str) -> bool:
    if slot == "L":
        return operand.startswith("`(")
    if slot == "G":
        return operand.startswith("gsb")
    if slot == "P":
        return operand == "PR"
    if slot in "TUQR":
        return re.fullmatch(r"!?U?P[0-6T]", operand) is not None
    return True


@dataclass(slots=True)
class Operand:
    """As engine/instruction.h describes it."""

    kind: int = 0
    index: int = 0
    negate: int = 0
    absolute: int = 0
    invert: int = 0
    half: int = 0
    scale: int = 1
    wide: int = 0
    uniform: int = -1
    base: int = -1
    value: int = 0

    def packed(self) -> bytes:
        return _OPERAND.pack(*(getattr(self, name) for name in self.__slots__))


_ABSENT = Operand().packed()


def _parse(text: str) -> Operand:
    operand, bare = Operand(), text
    if not re.match(_LITERAL, bare):
        for sign, field in (("-", "negate"), ("~", "invert"), ("!", "invert")):
            if bare.startswith(sign):
                setattr(operand, field, 1)
                bare = bare[1:]
        if bare.startswith("|"):
            operand.absolute, bare = 1, bare.replace("|", "")
    for read in (_register, _predicate, _constant, _memory, _literal):
        if read(bare, operand):
            return operand
    raise UnknownInstructionError(f"the operand {text} is not known")


def _number(text: str, zero: int) -> int:
    return zero if text == "Z" else int(text)


def _register(text: str, operand: Operand) -> bool:
    if text in _SPECIAL:
        operand.kind, operand.index = SPECIAL, _SPECIAL[text]
        return True
    if match := re.fullmatch(r"gdesc\[UR(\d+)\](\.tnspA)?(\.tnspB)?", text):
        operand.kind, operand.index = UNIFORM, int(match[1])
        operand.half = (1 if match[2] else 0) | (2 if match[3] else 0)  # which is transposed
        return True
    match = re.fullmatch(r"(U?)R(\d+|Z)(\.H0_H0|\.H1_H1|\.64)?", text)
    if match is None:
        return False
    operand.kind = UNIFORM if match[1] else REGISTER
    operand.index = _number(match[2], _URZ if match[1] else _RZ)
    operand.half = {".H0_H0": 1, ".H1_H1": 2}.get(match[3], 0)
    return True


def _predicate(text: str, operand: Operand) -> bool:
    match = re.fullmatch(r"(U?)P([0-6]|T)", text)
    if match is None:
        return False
    operand.kind = UNIFORM_PREDICATE if match[1] else PREDICATE
    operand.index = _PT if match[2] == "T" else int(match[2])
    return True


def _constant(text: str, operand: Operand) -> bool:
    match = re.fullmatch(r"c\[0x([0-9a-f])\]\[(?:(U?)R(\d+|Z))?\+?(-?0x[0-9a-f]+)?\]", text)
    if match is None:
        return False
    operand.kind, operand.index = CONSTANT, int(match[1])
    operand.value = int(match[4], 16) if match[4] else 0
    if match[3]:
        if match[2]:
            operand.uniform = _number(match[3], _URZ)
        else:
            operand.base = _number(match[3], _RZ)
    return True


def _memory(text: str, operand: Operand) -> bool:
    """An address such as [R2.64+UR4+0x10]; the descriptor of global memory says nothing here."""
    match = re.fullmatch(r"(?:desc\[UR\d+\])?\[(.*)\]", text)
    if match is None:
        return False
    operand.kind, operand.index = MEMORY, _RZ
    for part in filter(None, match[1].replace("-0x", "+-0x").split("+")):
        if uniform := re.fullmatch(r"UR(\d+|Z)", part):
            operand.uniform = _number(uniform[1], _URZ)
        elif register := re.fullmatch(r"R(\d+|Z)(?:\.(64|U32|X4|X8|X16))?", part):
            operand.index = _number(register[1], _RZ)
            kind = register[2] or ""
            operand.wide = {"64": 64, "U32": 32}.get(kind, 0)
            operand.scale = int(kind[1:]) if kind.startswith("X") else 1
        else:
            operand.value = int(part, 16)
    return True


def _literal(text: str, operand: Operand) -> bool:
    operand.kind = IMMEDIATE
    if re.fullmatch(r"-?0x[0-9a-f]+", text):
        operand.value = int(text, 16)
    elif match := re.fullmatch(r"(?:B|SB|gsb)(\d+)", text):  # a barrier's number
        operand.value = int(match[1])
    elif re.match(_LITERAL, text):
        operand.value = _float_bits(text)
    else:
        return False
    return True


def _float(text: str) -> float:
    return float(text.replace("QNAN", "nan").replace("INF", "inf"))


def _float_bits(text: str) -> int:
    if "QNAN" in text:
        return 0xFFFFFFFF if text.startswith("-") else 0x7FFFFFFF
    return struct.unpack("<I", struct.pack("<f", _float(text)))[0]
