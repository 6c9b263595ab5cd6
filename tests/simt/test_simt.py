"""The simulator itself: what tensor cores compute, and that planted mistakes show."""

from __future__ import annotations

import ctypes
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import simt_build
import torch
from torch import Tensor

pytestmark = pytest.mark.skipif(
    simt_build.obstacle() is not None, reason=str(simt_build.obstacle())
)

SEEDS = range(20)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class Planted:
    """The kernels of planted.cu."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.run_planted.restype = ctypes.c_char_p

    def seed(self, seed: int) -> None:
        self._library.wavenet_simt_set_seed(ctypes.c_int64(seed))

    def run(self, name: str, out: Tensor, a: Tensor | None = None, b: Tensor | None = None, n=0):
        pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (a, b, out)]
        error = self._library.run_planted(name.encode(), *pointers, n)
        if error is not None:
            raise RuntimeError(error.decode())
        return out


def build(*, sanitize: bool) -> Path:
    source = {simt_build.HERE / "planted.cu": []}
    return simt_build.link(simt_build.FOLDER, "planted.so", source, ["-shared"], sanitize=sanitize)


@pytest.fixture(scope="module")
def _loaded() -> Planted:
    return Planted(build(sanitize=False))


@pytest.fixture
def planted(_loaded) -> Iterator[Planted]:
    yield _loaded
    _loaded.seed(-1)


def results(planted: Planted, name: str, out: Tensor, *arguments, **more) -> list[Tensor]:
    """What the kernel makes of `out`, seed by seed."""
    made = []
    for seed in SEEDS:
        planted.seed(seed)
        made.append(planted.run(name, out.clone(), *arguments, **more))
    return made


def wrong(made: list[Tensor], expected: Tensor) -> int:
    return sum(not torch.equal(result, expected) for result in made)


# ---- operations of a warp ----


def factors(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Small integers, whose products and sums are exact in any order."""
    generator = torch.Generator().manual_seed(0)
    K = 32 // dtype.itemsize
    a, b = (torch.randint(-8, 9, shape, generator=generator) for shape in ((16, K), (K, 8)))
    return a.to(dtype), b.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mma_adds_the_product(planted, dtype):
    a, b = factors(DTYPES[dtype])
    before = torch.arange(128.0).reshape(16, 8)
    expected = before + a.float() @ b.float()
    assert wrong(results(planted, f"product_{dtype}", before, a, b), expected) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_mma_sums_in_float32(planted, dtype):
    dtype = DTYPES[dtype]
    generator = torch.Generator().manual_seed(1)
    K = 32 // dtype.itemsize
    a, b = (torch.randn(shape, generator=generator).to(dtype) for shape in ((16, K), (K, 8)))
    if dtype is torch.float32:
        a, b = ((t.view(torch.int32) & ~0x1FFF).view(torch.float32) for t in (a, b))
    exact = a.double() @ b.double()
    scale = a.double().abs() @ b.double().abs()
    made = planted.run(f"product_{str(dtype).removeprefix('torch.')}", torch.zeros(16, 8), a, b)
    assert ((made.double() - exact).abs() <= scale * K * 2**-24).all()


def test_mma_ignores_bits_that_tf32_does_not_have(planted):
    a, b = factors(torch.float32)
    noisy = [(t.view(torch.int32) | 0x1FFF).view(torch.float32) for t in (a, b)]
    made = planted.run("product_float32", torch.zeros(16, 8), *noisy)
    assert torch.equal(made, a @ b)


def test_mma_of_what_is_not_finite(planted):
    for name, dtype in DTYPES.items():
        a, b = factors(dtype)
        a[3, 2], a[5, 1] = math.inf, math.nan
        b[2] = 1
        made = planted.run(f"product_{name}", torch.zeros(16, 8), a, b)
        assert torch.equal(made.isnan().any(1).nonzero().flatten(), torch.tensor([5]))
        assert (made[3] == math.inf).all()


def test_mma_of_subnormal_halves(planted):
    a, b = factors(torch.float16)
    a *= 2.0**-24
    made = planted.run("product_float16", torch.zeros(16, 8), a, b)
    assert torch.equal(made, a.float() @ b.float())


@pytest.mark.parametrize("dtype", DTYPES)
def test_load_matrices_gives_the_fragments_of_mma(planted, dtype):
    a, b = factors(DTYPES[dtype])
    name, columns = f"product_of_matrices_{dtype}", b.t().contiguous()
    assert wrong(results(planted, name, torch.zeros(16, 8), a, columns), a.float() @ b.float()) == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_load_matrices_transposed_gives_the_fragments_of_mma(planted, dtype):
    a, b = factors(DTYPES[dtype])
    made = results(planted, f"product_of_transposed_{dtype}", torch.zeros(16, 8), a, b)
    assert wrong(made, a.float() @ b.float()) == 0


def test_shuffles(planted):
    lanes = range(32)
    expected = [(lane + 5) % 32 for lane in lanes]
    expected += [lane ^ 3 for lane in lanes]
    expected += [lane + 4 if lane % 16 < 12 else lane for lane in lanes]
    expected += [max(lane - 1, 0) for lane in lanes]
    expected += [8 + lane // 16 * 17 for lane in lanes]
    expected += [lane ^ 1 for lane in range(8)]
    out = torch.full((168,), -1, dtype=torch.int32)
    assert wrong(results(planted, "shuffles", out), torch.tensor(expected, dtype=torch.int32)) == 0


def test_approximate_tanh_is_as_far_off_as_the_hardware_may_be(planted):
    v = torch.linspace(-10, 10, 100_000)
    made = planted.run("tanh", torch.empty_like(v), v, n=len(v)).double()
    off = made / v.double().tanh() - 1
    assert 2**-12 < off.max() <= 2**-10.987 and -(2**-10.987) <= off.min() < -(2**-12)
    assert made.abs().max() <= 1
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan])
    made = planted.run("tanh", torch.empty_like(special), special, n=5)
    assert made[:4].tolist() == [0, 0, 1, -1] and made[1].signbit() and made[4].isnan()


def test_round_tf32_is_to_nearest_ties_away(planted):
    step = 2.0**-10
    v = torch.tensor(
        [1 + step / 2, -1 - step / 2, 1 + step * 0.49, 1 + step * 1.5, 3e38, math.inf, -math.nan]
    )
    made = planted.run("tf32", torch.empty_like(v), v, n=len(v))
    assert made[:4].tolist() == [1 + step, -1 - step, 1, 1 + 2 * step]
    assert made[5] == math.inf and made[6].isnan()
    assert (made[:6].view(torch.int32) & 0x1FFF == 0).all()


# ---- barriers and waits ----

ROWS = 6


def sum_rows() -> tuple[Tensor, Tensor]:
    a = torch.arange(ROWS * 128.0).reshape(ROWS, 128)
    return a, a.sum().expand(128)


def reverse_in_warps() -> tuple[Tensor, Tensor]:
    a = torch.arange(ROWS * 64.0).reshape(ROWS, 64)
    return a, a.reshape(ROWS, 2, 32).flip(2).sum(0).flatten()


def copy_rows() -> tuple[Tensor, Tensor]:
    a = torch.arange(ROWS * 256.0).reshape(ROWS, 64, 4)
    return a, a.roll(-32, 1)


def load_stored() -> tuple[Tensor, Tensor]:
    a = torch.arange(128.0).reshape(4, 32)
    return a, a


PROBLEMS = {
    "sum_rows": sum_rows,
    "reverse_in_warps": reverse_in_warps,
    "copy_rows": copy_rows,
    "load_stored": load_stored,
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_right_kernels_are_right_in_any_order(planted, name):
    a, expected = PROBLEMS[name]()
    made = results(planted, name, torch.zeros_like(expected), a, n=ROWS)
    assert wrong(made, expected) == 0


@pytest.mark.parametrize(
    "name",
    [
        "sum_rows_missing_after_write",
        "sum_rows_missing_after_read",
        "reverse_in_warps_missing_after_write",
        "reverse_in_warps_missing_after_read",
        "load_stored_missing_after_write",
        "copy_rows_no_wait",
        "copy_rows_wait_for_too_few",
        "copy_rows_no_barrier_before_reading",
        "copy_rows_no_barrier_before_refilling",
    ],
)
def test_a_missing_barrier_or_wait_shows(planted, name):
    a, expected = next(make() for problem, make in PROBLEMS.items() if name.startswith(problem))
    made = results(planted, name, torch.zeros_like(expected), a, n=ROWS)
    assert wrong(made, expected) >= len(SEEDS) / 2  # a handful of seeds is enough
    assert any(not torch.equal(result, made[0]) for result in made)


def test_a_seed_decides_everything(planted):
    a, expected = sum_rows()
    for seed in SEEDS:
        planted.seed(seed)
        first, second = (
            planted.run("sum_rows_missing_after_read", torch.zeros(128), a, n=ROWS)
            for _ in range(2)
        )
        assert torch.equal(first, second)


def test_the_seed_may_come_from_the_environment(planted, monkeypatch):
    a, _ = sum_rows()

    def made() -> Tensor:
        return planted.run("sum_rows_missing_after_read", torch.zeros(128), a, n=ROWS)

    for seed in (3, 4):
        planted.seed(seed)
        expected = made()
        planted.seed(-1)
        monkeypatch.setenv("WAVENET_SIMT_SEED", str(seed))
        assert torch.equal(made(), expected)


def test_barriers_do_not_count_threads_that_have_left(planted):
    made = results(planted, "leave_early", torch.zeros(30, 48, dtype=torch.int32))
    assert wrong(made, torch.arange(47, -1, -1, dtype=torch.int32).expand(30, 48)) == 0


# ---- errors ----


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [
        ("copy_async_to", 8, r"thread \(\d+, 0, 0\): copy_async .* must be multiples of 16"),
        ("copy_async_to", 64, "not in the block's shared memory"),
        ("copy_async_index", 1, "must be multiples of 16"),
        ("load_matrices_at", 8, "at byte 8 of shared memory, no multiple of 16"),
        ("load_matrices_at", 56, "not in the block's shared memory"),
        ("exit_before_mma", 3, r"mma.*lane 3 of the warp has exited|\(3, 0, 0\): .* exits while"),
        (
            "barrier_beside_mma",
            40,
            r"block \([01], 0, 0\).*(lane 8 of the warp|\(40, 0, 0\): the thread) waits at __sync",
        ),
        ("mma_beside_syncwarp", 3, "waits at (mma|__syncwarp)"),
        ("mma_of_half_a_warp", -1, "the block has no lane 16 of this warp"),
        ("shuffle_outside_of_mask", 20, "reads lane 20, which is not in mask 0000ffff"),
        ("deadlock", 0, "waits"),
        ("copy_rows_no_wait_before_exit", 1, "exits with copies that it never waited for"),
        ("too_many_threads", 0, "InvalidConfiguration"),
        ("no_blocks", 0, "InvalidConfiguration"),
        ("too_much_shared_memory", 0, "50176 bytes of shared memory"),
        ("write_shared_index", 25, "wrote beyond its 100 bytes"),
        ("write_shared_index", -1, "wrote beyond its 100 bytes"),
    ],
)
def test_errors_name_the_kernel_and_the_place(planted, name, n, message):
    memory = torch.zeros(256)
    for seed in SEEDS:
        planted.seed(seed)
        with pytest.raises(RuntimeError, match=f"wavenet_kernels {name}: .*{message}"):
            planted.run(name, memory, memory, n=n)
        # And the next launch knows nothing of it.
        a, expected = reverse_in_warps()
        assert torch.equal(planted.run("reverse_in_warps", torch.zeros(64), a, n=ROWS), expected)


@pytest.mark.parametrize("n", [0, 24, 25, -1])
def test_uninitialised_shared_memory_is_nan(planted, n):
    assert planted.run("copy_shared_index", torch.zeros(1), n=n).isnan().all()


# ---- sanitizers ----

IN_A_PROCESS = """
import ctypes, json, sys
sys.path.insert(0, sys.argv[1])
library = ctypes.CDLL(sys.argv[2])
library.run_planted.restype = ctypes.c_char_p
for name, n in json.loads(sys.argv[3]):
    a = (ctypes.c_float * 2048)()
    for seed in range(3):
        library.wavenet_simt_set_seed(ctypes.c_int64(seed))
        memory = ctypes.create_string_buffer(800)
        print(name, library.run_planted(name.encode(), a, a, memory, n))
"""


def sanitized(*cases: tuple[str, int]) -> subprocess.CompletedProcess[str]:
    library = build(sanitize=True)
    command = [sys.executable, "-c", IN_A_PROCESS, str(simt_build.HERE), str(library)]
    return subprocess.run(
        [*command, json.dumps(cases)],
        env=simt_build.sanitized_environment(),
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def _sanitizers_work() -> None:
    ran = sanitized()
    if ran.returncode != 0:
        pytest.skip(f"AddressSanitizer does not work here: {ran.stderr.strip()[-300:]}")


@pytest.mark.parametrize(
    ("name", "n", "report"),
    [
        ("copy_index", 2048, "READ of size 4"),
        ("copy_async_index", 2048, "READ of size 1"),
        ("write_index", 200, "WRITE of size 4"),
        ("copy_shared_index", 25, "READ of size 4"),
        ("write_shared_index", 25, "WRITE of size 4"),
        ("write_shared_index", -1, "WRITE of size 4"),
    ],
)
def test_addresses_outside_of_memory(_sanitizers_work, name, n, report):
    ran = sanitized((name, n))
    assert ran.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in ran.stderr and report in ran.stderr
    assert re.search(rf"\b{name}\b.*planted\.cu:\d+", ran.stderr)  # where it happened


def test_sanitizers_find_nothing_in_what_is_right(_sanitizers_work):
    ran = sanitized(
        ("sum_rows", 2), ("reverse_in_warps", 2), ("exit_before_mma", 3), ("sum_rows", 2)
    )
    assert ran.returncode == 0 and not ran.stderr, ran.stderr
    assert ran.stdout.count("None") == 9 and ran.stdout.count("exit_before_mma b'") == 3


# ---- builds ----


def test_what_has_not_changed_is_not_built_again(tmp_path):
    source, header, result = (tmp_path / name for name in ("a b.cpp", "a.h", "a.o"))
    source.write_text('#include "a.h"\nint value = VALUE;\n')
    header.write_text("#define VALUE 1\n")
    command = ["g++", "-c", str(source)]

    def built() -> int:
        return simt_build.make(result, command, []).stat().st_mtime_ns

    first = built()
    assert built() == first
    header.write_text("#define VALUE 2\n")
    second = built()
    assert second > first and built() == second
    source.write_text("int value = VALUE;\n")
    with pytest.raises(RuntimeError, match="VALUE"):
        built()
    header.write_text("")
    source.write_text("int value = 1;\n")
    assert built() > second
