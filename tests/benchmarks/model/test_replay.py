"""The timing model on traces written by hand, and a pass from end to end."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import cuda_machine_code
import executor
import numpy as np
import pytest
from machine_code import FOLDER, ROOT, Kernel
from sass_cases import ALL

from benchmarks.model.assumptions import CONSTANTS
from benchmarks.model.replay import UnknownInstructionError, kind_of, replay

pytestmark = pytest.mark.skipif(executor.obstacle() is not None, reason=str(executor.obstacle()))


def encode(stall: int, written: int = 7, read: int = 7, waits_for: int = 0) -> bytes:
    """What the compiler says with an instruction; 7: no scoreboard."""
    return struct.pack("<QQ", 0, (stall | written << 5 | read << 8 | waits_for << 11) << 41)


def kernel(*instructions: tuple) -> Kernel:
    """Of texts, each with the arguments of `encode`."""
    text = tuple(text for text, *_ in instructions)
    encoded = b"".join(encode(*control) for _, *control in instructions)
    return Kernel("by hand", text, b"", encoded, {}, {}, 0, 0, 0, 32)


def trace(count: int, **of_each) -> np.ndarray:
    """One warp that goes through so many instructions once."""
    steps = np.zeros(count, executor.STEP)
    steps["place"], steps["lanes"] = range(count), 32
    for name, values in of_each.items():
        steps[name] = values
    return steps


def cycles(made: Kernel, *warps: np.ndarray, **constants: float) -> float:
    return replay(made, [warps or [trace(len(made.text))]], constants=constants).cycles


def test_stall_counts():
    made = kernel(("FADD R0, R1, R2", 4), ("FADD R3, R0, R2", 5), ("EXIT", 1))
    assert cycles(made) == 4 + 5 + 1


def test_scoreboards():
    """What waits for a scoreboard waits for the latency; a planted one shows."""
    made = kernel(("MUFU.EX2 R0, R1", 1, 0), ("FADD R2, R0, R0", 1, 7, 7, 1), ("EXIT", 1))
    latency = CONSTANTS["special_latency"].value
    assert cycles(made) == latency + 2
    assert cycles(made, special_latency=latency + 18) == latency + 18 + 2


def test_pipes():
    """Four schedulers have a pipe each; five warps share one of them."""
    made = kernel(*[("LOP3.LUT R0, R1, R2, RZ, 0xc0, !PT", 1)] * 4)
    four, eight = (cycles(made, *[trace(4)] * warps) for warps in (4, 8))
    assert (four, eight) == (2 * 3 + 1, 2 * 7 + 1)  # each takes 2 cycles


def test_shared_memory():
    """Wavefronts of all warps go one after the other."""
    made = kernel(("LDS R0, [R1]", 1, 0), ("FADD R2, R0, R0", 1, 7, 7, 1))
    latency = CONSTANTS["shared_latency"].value
    assert cycles(made, trace(2, wavefronts=[8, 0])) == 2 + 8 + latency + 1
    two = [trace(2, wavefronts=[8, 0])] * 2
    assert cycles(made, *two) == 2 + 2 * 8 + latency + 1


def test_global_memory():
    """What was read once is in L1; a hot address is in L2; DRAM has a rate."""
    one = ("LDG.E R0, [R2.64]", 1, 0), ("FADD R4, R0, R0", 1, 7, 7, 1)
    made = kernel(*one, *one)
    steps = trace(4, sectors=[4, 0, 4, 0], lines=[1, 0, 1, 0], sector=[64, 0, 64, 0])
    assert cycles(made, steps, l1_latency=100) - cycles(made, steps, l1_latency=60) == 40
    cold, hot = (replay(made, [[steps]], hot=h) for h in ((), [(64 * 32, 65 * 32)]))
    assert (cold.dram_bytes, hot.dram_bytes, hot.l2_bytes) == (128, 0, 128)
    assert cold.cycles > hot.cycles
    slow = replay(made, [[steps]], constants={"dram_rate": 1.0})
    assert slow.cycles - cold.cycles == pytest.approx(
        128 - 128 / CONSTANTS["dram_rate"].value, abs=1
    )


def test_barrier():
    """All warps of a block wait for the last."""
    made = kernel(("FADD R0, R1, R2", 15), ("BAR.SYNC 0x0", 1), ("EXIT", 1))
    early = trace(2)
    early["place"] = [1, 2]
    done = replay(made, [[trace(3), early]])
    assert done.cycles == 15 + CONSTANTS["barrier"].value + 1
    assert done.waits["FOR_BARRIER"] >= 14


def test_unknown_opcode():
    with pytest.raises(UnknownInstructionError, match="UTCHMMA"):
        kind_of("@P0 UTCHMMA gdesc[UR4], tmem[UR8]")
    assert kind_of("@!UP0 UIADD3 UR4, UR4, 0x1, URZ") == "UNIFORM"
    assert kind_of("WARPGROUP.ARRIVE") == "OTHER"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cuda", "triton"] if ALL else ["triton"])
def test_predict(tmp_path, backend):
    """The command says "predicted", what it assumes, and what its calibration is."""
    if backend == "cuda" and (reason := cuda_machine_code.obstacle("sm_90a")):
        pytest.skip(reason)
    out = tmp_path / "model.json"
    command = [sys.executable, "-m", "benchmarks", "model", "predict", "--out", str(out)]
    command += ["--workloads", "R=32,S=64,L=2", "--backends", backend, "--passes", "forward"]
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(FOLDER / "triton"),
        "TRITON_DEFAULT_FP_FUSION": "1",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for text in ("predicted microseconds", "calibration:", "assumptions:", "vector add"):
        assert text in done.stdout
    written = json.loads(out.read_text())
    (row,) = written["rows"]
    assert written["calibration"] and written["constants"] and written["commit"]
    # A layer's floor reads the skip sum so far, which the first of two does not.
    assert row["predicted_us"] > 0.8 * row["floor_memory_us"] > 0
