"""The C library against Neural Amp Modeler's engine, on that engine's usual network.

    git clone --recursive https://github.com/sdatkinson/NeuralAmpModelerCore engine
    python -m benchmarks amplifier --engine engine

One thread, 48 kHz, in buffers as an audio callback gets them. The engine is compiled as by its own
CMake (-Ofast; here with -march=native, in float) and run twice: with std::tanh, and with the
approximation that its plugin uses. Its header-only libraries are the checkout's or Debian's
(libeigen3-dev, nlohmann-json3-dev). --without keeps instructions from its compiler: held to AVX2,
-mno-avx512f, where the library is (--isa avx2). The C library is compiled as ever; the gated
network it also runs as plain stacks (network.py). Operations are counted as the engine's plain sums
have them.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.amplifier.network import RATE, Network, write_ours, write_stacks, write_theirs
from benchmarks.compiled import c_library
from benchmarks.compiled.c_library import FLOATS
from benchmarks.environment import BUILD, environment, machine, write_results
from benchmarks.programs import run
from benchmarks.reporting.rows import Row
from benchmarks.reporting.tables import table_of
from benchmarks.timing import Run, circumstances, interleave, spread

HERE = Path(__file__).parent
OURS, STACKS = "C library", "C library, as stacks"
THEIRS, FAST = "engine", "engine, its fast tanh"
BUFFERS = (16, 64, 256)
SAMPLES = 1 << 14
MOST_APART = 2e-5  # of float32 sums from those in float64, over the largest value
FAST_APART = 2e-2  # of the approximation; rows say how far it is off


class Driver:
    """A contender (driver.h), compiled."""

    def __init__(self, path: Path) -> None:
        self.functions = ctypes.CDLL(str(path))
        opens, runs = self.functions.driver_open, self.functions.driver_run
        opens.restype, opens.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
        runs.argtypes = [ctypes.c_void_p, FLOATS, FLOATS, ctypes.c_size_t, ctypes.c_int]
        self.functions.driver_close.argtypes = [ctypes.c_void_p]

    def playing(self, path: Path, buffer: int) -> Callable[[np.ndarray], np.ndarray]:
        """Samples (n,) float32 in, what the network makes of them out; goes on where it was."""
        driver = self.functions.driver_open(str(path).encode(), buffer)
        assert driver, f"{path} was refused"

        def play(samples: np.ndarray) -> np.ndarray:
            made = np.empty_like(samples)
            pointers = samples.ctypes.data_as(FLOATS), made.ctypes.data_as(FLOATS)
            self.functions.driver_run(driver, *pointers, len(samples), buffer)
            return made

        return play


def player(folder: Path, library: Path, source: str = "ours.c") -> Driver:
    """A source, built into a folder, with the C library that was built in another."""
    made = (folder / source).with_suffix(".so")
    run(
        *("cc", "-O3", "-march=native", "-shared", "-fPIC", f"-I{c_library.RUNTIME}"),
        *(str(HERE / source), f"-L{library}", "-lwavenet", f"-Wl,-rpath,{library}"),
        *("-o", str(made)),
    )
    return Driver(made)


def engine(folder: Path, checkout: Path, without: Sequence[str] = ()) -> Driver:
    """The engine and engine.cpp, without some of the processor's instructions."""
    sources = sorted(map(str, (checkout / "NAM").rglob("*.cpp")))
    made = folder / "engine.so"
    libraries = checkout / "Dependencies"
    # Later versions know when a network isn't one that they have special kernels for.
    run(
        *("c++", "-std=c++20", "-Ofast", "-march=native", *without, "-flto", "-shared", "-fPIC"),
        *("-DNAM_SAMPLE_FLOAT", "-DNAM_ENABLE_A2_FAST", f"-I{checkout}", f"-I{checkout / 'NAM'}"),
        *(f"-I{libraries / 'eigen'}", f"-I{libraries / 'nlohmann'}"),
        *("-I/usr/include/eigen3", "-I/usr/include/nlohmann"),
        *(str(HERE / "engine.cpp"), *sources, "-o", str(made)),
    )
    return Driver(made)


def noise() -> np.ndarray:
    """Samples (n,), float32."""
    return np.float32(np.random.default_rng(1).uniform(-0.5, 0.5, SAMPLES))


def apart(made: np.ndarray, exact: np.ndarray) -> float:
    """How far samples are from those in float64, over the largest.

    Of the second half: before the first sample stacks have heard nothing, the others silence.
    """
    half = len(made) // 2
    return float(np.abs(made - exact)[half:].max() / np.abs(exact).max())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, build, compare, measure, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks amplifier",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", type=Path, help="a checkout of NeuralAmpModelerCore")
    parser.add_argument("--engine-version", default="", help="of the checkout, for the record")
    parser.add_argument("--isa", help="that the library is built for; all by default")
    parser.add_argument("--without", action="append", help="a compiler's flag for the engine")
    parser.add_argument("--build", type=Path, help="a folder of an earlier build, or for one")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.engine is None or not (options.engine / "NAM" / "dsp.h").exists():
        raise SystemExit(
            f"python -m benchmarks amplifier: --engine is {options.engine}; accepted is the folder "
            "of a checkout of NeuralAmpModelerCore, with NAM/dsp.h in it"
        )

    torch.set_num_threads(1)
    where, x = environment(), noise()
    rows: list[Row] = []
    plays: dict[tuple[str, str, int], Callable[[np.ndarray], np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        chosen = {"WAVENET_RUNTIME_ISAS": options.isa} if options.isa else {}
        library = c_library.build(options.build or folder / "library", **chosen)
        theirs = engine(folder, options.engine, options.without or ())
        mine = {OURS: player(folder, library.resolve())}
        mine[STACKS] = player(folder, library.resolve(), "stacks.c")
        for workload, gated in (("standard", False), ("standard, gated", True)):
            network = Network.drawn(gated)
            write_theirs(network, folder / f"{workload}.nam")
            files = {OURS: folder / f"{workload}.wavenet"}
            write_ours(folder / f"{workload}.nam", files[OURS])
            if gated:
                files[STACKS] = folder / "stacks"
                write_stacks(network, files[STACKS])
            exact = network.exact(x)
            for buffer in BUFFERS:
                for contender in (*files, THEIRS, FAST):
                    if contender in files:
                        play = mine[contender].playing(files[contender], buffer)
                    else:
                        theirs.functions.use_fast_tanh(int(contender == FAST))
                        play = theirs.playing(folder / f"{workload}.nam", buffer)
                    error = apart(play(x), exact)
                    most = FAST_APART if contender == FAST else MOST_APART
                    assert error <= most, f"{workload}, {contender}: {error:.1e} from float64"
                    plays[workload, contender, buffer] = play
                    rows.append(
                        {
                            "workload": workload,
                            "value": buffer,
                            "contender": contender,
                            "off": error,
                            "operations": network.operations(),
                        }
                    )
        measure(rows, plays, x, options.rounds)

    print(table_of("amplifier", rows))
    out = options.out or BUILD / f"amplifier-{machine('cpu')}.json"
    content: dict[str, Any] = {
        "benchmark": "amplifier",
        "rounds": options.rounds,
        "engine_version": options.engine_version,
        "engine_without": options.without or [],
        "load": os.getloadavg(),
    }
    write_results(out, {**content, **where, "rows": rows})


def measure(
    rows: list[Row],
    plays: dict[tuple[str, str, int], Callable[[np.ndarray], np.ndarray]],
    x: np.ndarray,
    rounds: int,
) -> None:
    """Time everything, interleaved, into its row."""

    def timed(play: Callable[[np.ndarray], np.ndarray]) -> Run:
        return Run(lambda _: play(x))

    measured = interleave({key: timed(play) for key, play in plays.items()}, rounds=rounds)

    def processor(row: Row, contender: str) -> float:
        samples = measured[row["workload"], contender, row["value"]]
        return spread([one.processor for one in samples])[0] / len(x)

    for row in rows:
        samples = measured[row["workload"], row["contender"], row["value"]]
        median, low, high = (1e6 * value / len(x) * row["value"] for value in spread(samples))
        mine = processor(row, row["contender"])
        row |= {
            "median_us": median,
            "p10_us": low,
            "p90_us": high,
            "processor_us": 1e6 * mine * row["value"],
            "gflops": row["operations"] / mine / 1e9,
            "real_time": 1 / RATE / mine,
            "x_engine": processor(row, THEIRS) / mine,
            "x_fast_engine": processor(row, FAST) / mine,
            **circumstances(samples, 1),
        }
