"""What the model takes for granted of an H100, and where it is from.

"documented": NVIDIA's documents. "throughput": CUDA C++ Programming Guide, results a cycle of a
multiprocessor of compute capability 9.0. "microbenchmarks": what published measurements of Ampere
and Hopper agree on, as far as they do. "chosen": nobody says; `calibrate` allows it.
"""

from __future__ import annotations

from dataclasses import dataclass

MULTIPROCESSORS = 132
CLOCK = 1.98e9  # Hz, the highest; an H100's under load may be 1.4 to 1.9 GHz
SHARED_BYTES = 228 << 10  # that all blocks of a multiprocessor may have together
SYSTEM_SHARED_BYTES = 1 << 10  # of each block, for the system
L1_AND_SHARED_BYTES = 256 << 10
REGISTERS = 65536
THREADS = 2048


@dataclass(frozen=True)
class Constant:
    """A number that replay.cpp needs."""

    value: float
    unit: str
    what: str
    source: str


CONSTANTS = {
    "mma": Constant(6, "cycles", "of a scheduler's tensor core, for m16n8k16", "microbenchmarks"),
    "special": Constant(8, "cycles", "of the pipe of special functions", "throughput: 16"),
    "fixed": Constant(4, "cycles", "until other results", "microbenchmarks"),
    "shared_latency": Constant(24, "cycles", "of shared memory, beyond its wavefronts",
                               "microbenchmarks"),
    "l1_latency": Constant(35, "cycles", "of L1", "microbenchmarks"),
    "l2_latency": Constant(260, "cycles", "of L2", "microbenchmarks"),
    "dram_latency": Constant(700, "cycles", "of DRAM under load", "chosen"),
    "special_latency": Constant(22, "cycles", "of special functions", "microbenchmarks"),
    "constant_latency": Constant(28, "cycles", "of constants that LDC loads", "microbenchmarks"),
    "register_latency": Constant(25, "cycles", "of special registers", "microbenchmarks"),
    "shuffle_latency": Constant(23, "cycles", "of shuffles", "microbenchmarks"),
    "l2_rate": Constant(21, "bytes a cycle", "of L2, a multiprocessor's share of 5.5 TB/s",
                        "microbenchmarks"),
    "dram_rate": Constant(16.5, "bytes a cycle", "of DRAM, a share of 4.3 TB/s, as an H200 has",
                          "a copy measured on an H200"),
    "branch": Constant(8, "cycles", "lost where a branch is taken", "chosen"),
    "barrier": Constant(12, "cycles", "from the last warp at a barrier to all going on", "chosen"),
    "wgmma_start": Constant(30, "cycles", "before the first of several wgmma", "chosen"),
    "queue": Constant(64, "cycles", "of work that may wait for shared memory or L1", "chosen"),
    "block_start": Constant(400, "cycles", "by which a block starts after the one before",
                            "chosen"),
}  # fmt: skip

SENTENCES = (
    "one multiprocessor of an H100 at 1.98 GHz with the memory of an H200 (4.3 TB/s), a share of "
    "132; its rates and latencies are the constants listed by `calibrate`",
    "not modelled: instruction caches, the TLB, other multiprocessors' interference beyond those "
    "shares, clocks under load, uneven last rounds of blocks, host time, gaps between launches, "
    "packing of weights, what PyTorch itself launches",
    "weights, and partial sums that a kernel has just written, are in L2",
    "blocks traced are from the middle of a grid of fewer positions, times scaled from them",
    "trust it to 30 %: a difference of 10 % is a hint; nothing predicted here has been compared "
    "with these kernels on a device",
)
