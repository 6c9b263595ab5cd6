"""What single instructions compute, against Python, as ptxas makes them of PTX."""

from __future__ import annotations

import math
import struct

import executor
import numpy as np
import pytest
import torch
from assembly import assemble

pytestmark = pytest.mark.skipif(executor.obstacle() is not None, reason=str(executor.obstacle()))

ARCHS = ("sm_80", "sm_90a")
THREADS = 96
M32, M64 = 2**32 - 1, 2**64 - 1


def s32(v: int) -> int:
    return (v & M32) - (v >> 31 & 1) * 2**32


def s64(v: int) -> int:
    return v - (v >> 63) * 2**64


def f32(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits & M32))[0]


def bits(value: float) -> int:
    """Of a float32; every NaN alike."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    return 0x7FFFFFFF if math.isnan(rounded) else int(rounded.view(np.uint32))


def quotient(a: int, b: int) -> int:
    return int(math.copysign(abs(a) // abs(b), a * b)) if a * b else 0


def truncated(value: float, low: int, high: int) -> int:
    return 0 if math.isnan(value) else int(min(max(value, low), high))


def bfloat(value: float) -> int:
    if math.isnan(value):
        return 0x7FFF
    return int(torch.tensor(value, dtype=torch.float32).bfloat16().view(torch.int16)) & 0xFFFF


# PTX on a, b, c of 64 bits, and what it makes. i, j, k are their low halves, f, g, h those as
# float32; the result is in x (64 bits), y (32) or z (a float32).
CASES = [
    ("add.s64 x, a, b;", lambda a, b, c: a + b),
    ("sub.s64 x, a, b;", lambda a, b, c: a - b),
    ("mul.lo.s64 x, a, b;", lambda a, b, c: a * b),
    ("mad.lo.s64 x, a, b, c;", lambda a, b, c: a * b + c),
    ("and.b64 x, a, 7; shl.b64 x, x, 11; sub.s64 x, b, x;", lambda a, b, c: b - ((a & 7) << 11)),
    ("mul.hi.u64 x, a, b;", lambda a, b, c: a * b >> 64),
    ("mul.wide.u32 x, i, j;", lambda a, b, c: (a & M32) * (b & M32)),
    ("mul.wide.s32 x, i, j;", lambda a, b, c: s32(a) * s32(b)),
    ("mad.wide.s32 x, i, j, c;", lambda a, b, c: s32(a) * s32(b) + c),
    ("mad.hi.u32 y, i, j, k;", lambda a, b, c: ((a & M32) * (b & M32) >> 32) + c & M32),
    ("mul.hi.s32 y, i, j;", lambda a, b, c: s32(a) * s32(b) >> 32 & M32),
    (
        "add.cc.u32 y, i, j; addc.u32 y, y, k;",
        lambda a, b, c: (a + b & M32) + c + ((a & M32) + (b & M32) >> 32) & M32,
    ),
    ("div.u32 y, i, j;", lambda a, b, c: (a & M32) // (b & M32) if b & M32 else None),
    (
        "rem.s32 y, i, j;",
        lambda a, b, c: s32(a) - quotient(s32(a), s32(b)) * s32(b) & M32 if b & M32 else None,
    ),
    ("div.u64 x, a, b;", lambda a, b, c: a // b if b else None),
    ("shl.b64 x, a, 13;", lambda a, b, c: a << 13),
    ("and.b32 y, j, 63; shl.b64 x, a, y;", lambda a, b, c: a << (b & 63)),
    ("and.b32 y, j, 63; shr.u64 x, a, y;", lambda a, b, c: a >> (b & 63)),
    ("and.b32 y, j, 63; shr.s64 x, a, y;", lambda a, b, c: s64(a) >> (b & 63)),
    ("and.b32 y, j, 63; shr.s32 y, i, y;", lambda a, b, c: s32(a) >> min(b & 63, 31) & M32),
    (
        "shf.l.wrap.b32 y, i, j, k;",
        lambda a, b, c: ((b & M32) << 32 | a & M32) << (c & 31) >> 32 & M32,
    ),
    ("shf.r.wrap.b32 y, i, j, k;", lambda a, b, c: ((b & M32) << 32 | a & M32) >> (c & 31) & M32),
    (
        "prmt.b32 y, i, j, 0x7531;",
        lambda a, b, c: int.from_bytes(
            bytes([a >> 8 & 255, a >> 24 & 255, b >> 8 & 255, b >> 24 & 255]), "little"
        ),
    ),
    (
        "prmt.b32 y, i, j, 0xba98;",
        lambda a, b, c: int.from_bytes(
            bytes(255 if a >> (8 * n + 7) & 1 else 0 for n in range(4)), "little"
        ),
    ),
    ("lop3.b32 y, i, j, k, 0xca;", lambda a, b, c: (a & b | ~a & c) & M32),
    ("lop3.b32 y, i, j, k, 0x96;", lambda a, b, c: (a ^ b ^ c) & M32),
    ("bfe.s32 y, i, 5, 11;", lambda a, b, c: ((a >> 5 & 2047) - (a >> 15 & 1) * 2048) & M32),
    ("bfe.u32 y, i, 5, 11;", lambda a, b, c: a >> 5 & 2047),
    ("abs.s32 y, i;", lambda a, b, c: abs(s32(a))),
    ("neg.s32 y, i;", lambda a, b, c: -a & M32),
    ("popc.b32 y, i;", lambda a, b, c: (a & M32).bit_count()),
    ("clz.b32 y, i;", lambda a, b, c: 32 - (a & M32).bit_length()),
    ("brev.b32 y, i;", lambda a, b, c: int(f"{a & M32:032b}"[::-1], 2)),
    ("min.s32 y, i, j;", lambda a, b, c: min(s32(a), s32(b)) & M32),
    ("max.u32 y, i, j;", lambda a, b, c: max(a & M32, b & M32)),
    ("add.s32 y, i, j; min.s32 y, y, k;", lambda a, b, c: min(s32(a + b), s32(c)) & M32),
    ("setp.lt.s64 p, a, b; selp.b64 x, a, c, p;", lambda a, b, c: a if s64(a) < s64(b) else c),
    ("setp.ge.u64 p, a, b; selp.b64 x, a, c, p;", lambda a, b, c: a if a >= b else c),
    ("setp.ne.s64 p, a, b; selp.b64 x, a, c, p;", lambda a, b, c: a if a != b else c),
    (
        "setp.lt.s32 p, i, j; setp.gt.or.u32 q, i, k, p; selp.b32 y, 1, 2, q;",
        lambda a, b, c: 1 if s32(a) < s32(b) or a & M32 > c & M32 else 2,
    ),
    ("add.f32 z, f, g;", lambda a, b, c: bits(float(f32(a)) + f32(b))),
    ("mul.f32 z, f, g;", lambda a, b, c: bits(float(f32(a)) * f32(b))),
    (
        "add.ftz.f32 z, f, 0f00000000;",
        lambda a, b, c: bits(0.0 if abs(f32(a)) < 2.0**-126 else f32(a)),
    ),
    (
        "fma.rn.f32 z, f, g, h;",
        lambda a, b, c: bits(np.longdouble(f32(a)) * np.longdouble(f32(b)) + np.longdouble(f32(c))),
    ),
    (
        "fma.rn.sat.f32 z, f, g, h;",
        lambda a, b, c: bits(
            min(max(0.0 if math.isnan(v := f32(a) * f32(b) + f32(c)) else v, 0.0), 1.0)
        ),
    ),
    ("min.f32 z, f, g;", lambda a, b, c: bits(np.fmin(f32(a), f32(b)))),
    ("max.NaN.f32 z, f, g;", lambda a, b, c: bits(np.maximum(f32(a), f32(b)))),
    (
        "setp.geu.f32 p, f, g; selp.f32 z, f, h, p;",
        lambda a, b, c: bits(f32(c) if f32(a) < f32(b) else f32(a)),
    ),
    (
        "setp.lt.f32 p, f, g; selp.f32 z, f, h, p;",
        lambda a, b, c: bits(f32(a) if f32(a) < f32(b) else f32(c)),
    ),
    ("cvt.rn.f32.s32 z, i;", lambda a, b, c: bits(s32(a))),
    (
        "cvt.rp.f32.u32 z, i;",
        lambda a, b, c: bits(
            v if float(v := np.float32(a & M32)) >= a & M32 else np.nextafter(v, np.float32(np.inf))
        ),
    ),
    ("cvt.rn.f32.u64 z, a;", lambda a, b, c: bits(np.uint64(a))),
    ("cvt.rzi.s32.f32 y, f;", lambda a, b, c: truncated(f32(a), -(2**31), 2**31 - 1) & M32),
    ("cvt.rzi.u32.f32 y, f;", lambda a, b, c: truncated(f32(a), 0, M32)),
    ("cvt.rn.bf16x2.f32 y, f, g;", lambda a, b, c: bfloat(f32(a)) << 16 | bfloat(f32(b))),
]
EDGES = [0, 1, M32, 2**31, 2**63, M64, 0x7F800000, 0xFF800001, 0x00400000, 0x3F800000, 0xBF800000]


def inputs() -> np.ndarray:
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 2**64, (THREADS, 3), dtype=np.uint64)
    numbers[32:64] >>= np.uint64(33)
    numbers[64:] = generator.choice(np.array(EDGES, dtype=np.uint64), (THREADS - 64, 3))
    floats = generator.standard_normal((16, 3)).astype(np.float32)
    numbers[48:64] = floats.view(np.uint32)
    return numbers


@pytest.fixture(scope="module", params=ARCHS)
def kernels(request):
    bodies = {}
    for i, (ptx, _) in enumerate(CASES):
        last = ptx.rstrip(";").rpartition(";")[2]  # what makes the result
        to = {"x": "", "y": "cvt.u64.u32 x, y;", "z": "mov.b32 y, z; cvt.u64.u32 x, y;"}
        bodies[f"k{i}"] = f"""
            .reg .b64 a, b, c, x, at; .reg .b32 i, j, k, y, tid; .reg .f32 f, g, h, z;
            .reg .pred p, q;
            mov.u32 tid, %tid.x;
            ld.param.u64 at, [p0];
            mad.wide.u32 at, tid, 24, at;
            ld.global.b64 a, [at]; ld.global.b64 b, [at+8]; ld.global.b64 c, [at+16];
            cvt.u32.u64 i, a; cvt.u32.u64 j, b; cvt.u32.u64 k, c;
            mov.b32 f, i; mov.b32 g, j; mov.b32 h, k;
            {ptx} {to[last.split()[1][0]]}
            ld.param.u64 at, [p1];
            mad.wide.u32 at, tid, 8, at;
            st.global.b64 [at], x;
            ret;
        """
    return assemble(bodies, request.param)


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda i: CASES[i][0])
def test_what_is_computed(case, kernels):
    ptx, compute = CASES[case]
    numbers, out = inputs(), np.zeros(THREADS, np.uint64)
    parameters = struct.pack("<2Q", numbers.ctypes.data, out.ctypes.data)
    executor.run(kernels[f"k{case}"], (1, 1, 1), (THREADS, 1, 1), 0, parameters)
    for row, got in zip(numbers.tolist(), out.tolist(), strict=True):
        with np.errstate(all="ignore"):
            expected = compute(*row)
        if expected is None:  # undefined
            continue
        if " z," in ptx and math.isnan(f32(got)):
            got = 0x7FFFFFFF
        shown = f"{ptx} of {[hex(n) for n in row]}: {got:#x}, not {expected & M64:#x}"
        assert got == expected & M64, shown
