"""The executor itself: what threads share, tensor cores, and that planted mistakes are found."""

from __future__ import annotations

import re
import struct

import decoder
import executor
import pytest
import torch
from assembly import assemble

pytestmark = pytest.mark.skipif(executor.obstacle() is not None, reason=str(executor.obstacle()))

# 64 threads hand numbers to others through shared memory: p1[t] = p0[t ^ n].
EXCHANGE = """
    .reg .b64 from, to, wide; .reg .b32 t, at, other, v; .reg .pred p;
    mov.u32 t, %tid.x;
    mul.wide.u32 wide, t, 4;
    ld.param.u64 from, [p0]; add.s64 from, from, wide;
    ld.param.u64 to, [p1]; add.s64 to, to, wide;
    shl.b32 at, t, 2; mov.u32 v, memory; add.s32 at, at, v;
    xor.b32 other, at, 4 * {apart};
    {body}
    ret;
"""
STORED = "ld.global.b32 v, [from]; st.shared.b32 [at], v;"
COPIED = "cp.async.ca.shared.global [at], [from], 4; cp.async.commit_group;"
RETURNED = "ld.shared.b32 v, [other]; st.global.b32 [to], v;"
# Of 16 rows of a and 8 columns of b, bfloat16, as one warp multiplies them; a by ldmatrix.
PRODUCT = """
    .reg .b64 at, a, b, c; .reg .b32 t, v, r, x0, x1, x2, x3, y0, y1; .reg .f32 z0, z1, z2, z3;
    mov.u32 t, %tid.x;
    ld.param.u64 a, [p0]; ld.param.u64 b, [p1]; ld.param.u64 c, [p2];
    mad.wide.u32 at, t, 16, a; mov.u32 v, memory; mad.lo.u32 r, t, 16, v;
    cp.async.cg.shared.global [r], [at], 16; cp.async.commit_group; cp.async.wait_group 0;
    bar.warp.sync -1;
    and.b32 x0, t, 15; shl.b32 x0, x0, 5; shr.u32 x1, t, 4; shl.b32 x1, x1, 4;
    add.u32 r, x0, x1; add.u32 r, r, v;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {x0, x1, x2, x3}, [r];
    shr.u32 v, t, 2; mad.wide.u32 at, v, 32, b; and.b32 v, t, 3; mad.wide.u32 at, v, 4, at;
    ld.global.b32 y0, [at]; ld.global.b32 y1, [at+16];
    mov.f32 z0, 0f00000000; mov.f32 z1, z0; mov.f32 z2, z0; mov.f32 z3, z0;
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
        {z0, z1, z2, z3}, {x0, x1, x2, x3}, {y0, y1}, {z0, z1, z2, z3};
    shr.u32 v, t, 2; mad.wide.u32 at, v, 32, c; and.b32 v, t, 3; mad.wide.u32 at, v, 8, at;
    st.global.v2.f32 [at], {z0, z1}; st.global.v2.f32 [at+256], {z2, z3};
    ret;
"""


def exchange(body: str, apart: int) -> str:
    return EXCHANGE.format(body=body, apart=apart)


RIGHT = {
    "barrier": exchange(f"{STORED} bar.sync 0; {RETURNED}", 32),
    "in_a_warp": exchange(f"{STORED} bar.warp.sync -1; {RETURNED}", 1),
    "copy": exchange(f"{COPIED} cp.async.wait_group 0; bar.sync 0; {RETURNED}", 32),
    "older_copy": exchange(
        f"{COPIED} add.s32 at, at, 256; {COPIED} cp.async.wait_group 1; bar.sync 0; {RETURNED}"
        "cp.async.wait_all;",
        32,
    ),
    "branches": exchange(
        "ld.global.b32 v, [from]; and.b32 t, t, 7; setp.eq.u32 p, t, 0; @p bra done;"
        "again: add.u32 v, v, 1; sub.u32 t, t, 1; setp.ne.u32 p, t, 0; @p bra again;"
        f"done: mov.u32 t, %tid.x; and.b32 t, t, 7; sub.u32 v, v, t;"
        f"st.shared.b32 [at], v; bar.sync 0; {RETURNED}",
        32,
    ),
}
LATE = f"{COPIED} st.global.b32 [to], t; cp.async.wait_all; bar.sync 0; {RETURNED}"
# The mistake, and what is said of it.
WRONG = {
    "no_barrier": (exchange(f"{STORED} {RETURNED}", 32), "shared memory: read after write"),
    "no_syncwarp": (exchange(f"{STORED} {RETURNED}", 1), "shared memory: read after write"),
    "too_soon_again": (
        exchange(f"{STORED} bar.sync 0; {RETURNED} st.shared.b32 [at], t; bar.sync 0;", 32),
        "shared memory: write after read",
    ),
    "written_twice": (
        exchange("mov.u32 v, memory; st.shared.b32 [v], t; bar.sync 0; st.global.b32 [to], v;", 32),
        "shared memory: write after write",
    ),
    "no_wait": (
        exchange(f"{COPIED} bar.sync 0; {RETURNED} cp.async.wait_all;", 32),
        "shared memory: read before the copy there is waited for",
    ),
    "waits_for_too_few": (
        exchange(f"{COPIED} cp.async.wait_group 1; bar.sync 0; {RETURNED} cp.async.wait_all;", 32),
        "shared memory: read before the copy there is waited for",
    ),
    "never_waits": (exchange(f"{STORED} {COPIED}", 32), "copies that nobody waited for"),
    "global_neighbours": (
        exchange("st.global.b32 [to], t; xor.b32 v, t, 32; sub.s32 v, v, t;"
                 "mul.wide.s32 wide, v, 4; add.s64 to, to, wide; ld.global.b32 v, [to];"
                 "st.global.b32 [from], v;", 32),
        "global memory: read after write",
    ),
    "misaligned": (exchange("st.shared.b32 [at+2], t;", 32), "misaligned: 4 bytes at"),
    "beyond": (exchange("st.shared.b32 [at+65536], t;", 32), "of shared memory, which is 1024"),
    "nowhere": (exchange("st.global.b32 [wide], t;", 32), "no memory at"),
    "part_of_a_warp": (
        exchange("setp.lt.u32 p, t, 5; @p bar.sync 0; bar.sync 0; st.global.b32 [to], t;", 32),
        "come to a barrier",
    ),
    "two_barriers": (
        exchange("setp.lt.u32 p, t, 32; @p bra one; bar.sync 1; bra all; one: bar.sync 2;"
                 "all: st.global.b32 [to], t;", 32),
        "while warp 0 waits at barrier 2",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=["sm_80", "sm_90a"])
def kernels(request):
    bodies = {name: body for name, (body, _) in WRONG.items()}
    bodies = RIGHT | bodies | {"late": exchange(LATE, 32)}
    return assemble(bodies, request.param) | assemble({"product": PRODUCT}, request.param, 3)


def execute(kernel, *tensors, blocks=1, threads=64):
    parameters = struct.pack(f"<{len(tensors)}Q", *(t.data_ptr() for t in tensors))
    return executor.run(kernel, (blocks, 1, 1), (threads, 1, 1), 1024, parameters)


@pytest.fixture
def numbers():
    return torch.arange(64, dtype=torch.int32) * 7


@pytest.mark.parametrize("name", RIGHT)
def test_threads_exchange_numbers(name, kernels, numbers):
    out = torch.zeros_like(numbers)
    assert execute(kernels[name], numbers, out)[0] == 2  # warps
    apart = 1 if name == "in_a_warp" else 32
    assert torch.equal(out, numbers[torch.arange(64) ^ apart])


@pytest.mark.parametrize("name", WRONG)
def test_planted_mistakes_are_found(name, kernels, numbers):
    with pytest.raises(executor.ExecutionError, match=re.escape(WRONG[name][1])):
        execute(kernels[name], numbers, torch.zeros_like(numbers))


@pytest.mark.parametrize("name", RIGHT)
def test_every_barrier_and_wait_matters(name, kernels, numbers):
    """Each that is taken out of the machine code is missed."""
    kernel = kernels[name]
    places = [
        i
        for i, text in enumerate(kernel.text)
        if re.match(r"(BAR|DEPBAR)\b", text) or (name == "in_a_warp" and text == "NOP")
    ]
    ends = next(i for i, text in enumerate(kernel.text) if text.startswith("EXIT"))
    places = [i for i in places if i < ends]
    assert places
    for place in places:
        with pytest.raises(executor.ExecutionError, match="nobody waited|before the copy|after"):
            execute(kernel.with_text(place, "MOV R255, R255"), numbers, torch.zeros_like(numbers))


def test_blocks_may_not_share(kernels, numbers):
    with pytest.raises(executor.ExecutionError, match="global memory: write after write"):
        execute(kernels["barrier"], numbers, torch.zeros_like(numbers), blocks=2)


def test_copies_are_late(kernels, numbers):
    """What is written to where they come from before the wait is what is copied."""
    execute(kernels["late"], numbers, numbers)
    assert torch.equal(numbers, (torch.arange(64) ^ 32).int())


def test_a_warp_multiplies(kernels):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-8, 9, (n, 16), generator=generator).bfloat16() for n in (16, 8))
    out = torch.zeros(16, 8)
    execute(kernels["product"], a, b, out, threads=32)
    assert torch.equal(out, a.float() @ b.float().T)


def test_a_swapped_operand_shows(kernels):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-8, 9, (n, 16), generator=generator).bfloat16() for n in (16, 8))
    out, kernel = torch.zeros(16, 8), kernels["product"]
    place = next(i for i, text in enumerate(kernel.text) if text.startswith("HMMA"))
    name, d, x, y, z = kernel.text[place].replace(",", "").replace(".reuse", "").split()
    execute(kernel.with_text(place, f"{name} {d}, {y}, {x}, {z}"), a, b, out, threads=32)
    assert not torch.equal(out, a.float() @ b.float().T)


def test_an_unknown_instruction_is_named(kernels):
    kernel = kernels["barrier"]
    for text, said in {
        "ATOMG.E.ADD PT, R0, [R2.64], R4": "opcode ATOMG is not known",
        "FADD.RZ R1, R2, R3": "modifier RZ of FADD is not known",
        "LDS R1, c[0x0][R2.X4]": r"operand c\[0x0\]\[R2.X4\] is not known",
        "IADD3 R1, R2": "such operands are not known",
    }.items():
        with pytest.raises(decoder.UnknownInstructionError, match=said):
            kernel.with_text(0, text)


def test_trace():
    """What a warp does, and how many sectors, lines and wavefronts its accesses take."""
    body = """
        .reg .b64 from, wide; .reg .b32 t, at, v; .reg .pred p;
        mov.u32 t, %tid.x; mul.wide.u32 wide, t, {apart};
        ld.param.u64 from, [p0]; add.s64 from, from, wide;
        mul.lo.u32 at, t, {apart}; mov.u32 v, memory; add.s32 at, at, v;
        ld.global.b32 v, [from]; st.shared.b32 [at], v;
        setp.ne.u32 p, t, {lane}; @p st.global.b32 [from], v;
        ret;
    """
    bodies = {"near": body.format(apart=4, lane=0), "far": body.format(apart=128, lane=99)}
    memory = torch.zeros(2048 + 32, dtype=torch.int32)
    start = memory.data_ptr() + -memory.data_ptr() % 128

    def taken(name: str) -> dict[str, list[int]]:
        made = kernels[name]
        parameters = struct.pack("<2Q", start, 0)
        (warp,) = executor.trace(made, (3, 1, 1), (32, 1, 1), 4096, parameters, 1)
        fields = ("lanes", "sectors", "lines", "wavefronts")
        return {
            text: [int(warp[field][list(warp["place"]).index(i)]) for field in fields]
            for i, whole in enumerate(made.text)
            for text in ("LDG", "STS", "STG")
            if text in whole
        }

    kernels = assemble(bodies, "sm_80")
    near, far = taken("near"), taken("far")
    assert near == {"LDG": [32, 4, 1, 0], "STS": [32, 0, 0, 1], "STG": [31, 4, 1, 0]}
    assert far == {"LDG": [32, 32, 32, 0], "STS": [32, 0, 0, 32], "STG": [32, 32, 32, 0]}
