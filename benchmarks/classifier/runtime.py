"""The C library on a stream, against onnxruntime on the same: size, memory, time.

    python -m benchmarks runtime

One thread, 10 ms of noise at a time, a decision every 100 ms about the last second. The library is
built for one instruction set; memory is what opening the file and making a classifier take from the
heap, the mapped file not counted. onnxruntime gets the network as a step of one frame whose history
goes in and comes out, the fastest that its graphs can say, without pooling and last layer. Weights
are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.compiled import c_library
from benchmarks.compiled.c_library import FLOATS, Decision, Library, Listener
from benchmarks.environment import RESULTS, environment, machine, write_results
from benchmarks.programs import run
from benchmarks.reporting.rows import Row, sentence
from benchmarks.reporting.tables import table_of
from benchmarks.timing import Run, interleave, spread
from wavenet import WaveNetClassifier, create_model
from wavenet.classifier.inference.runtime import runtime_file
from wavenet.classifier.inference.weights import WEIGHTS

PRESETS = ("wavenet-tiny", "wavenet-small", "wavenet-base")
RATE, CHUNK = 16000, 160
CHUNKS = 100  # a second
ONNX = "onnxruntime"


class Heap:
    """What malloc has given out, by glibc's own account."""

    class Info(ctypes.Structure):
        """struct mallinfo2."""

        _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

    def __init__(self) -> None:
        self.mallinfo = ctypes.CDLL(None).mallinfo2
        self.mallinfo.restype = self.Info

    def bytes(self) -> int:
        """In use, of arenas (uordblks) and of mappings of their own (hblkhd)."""
        info = self.mallinfo()
        return int(info.h) + int(info.e)


def built(folder: Path, isa: str) -> tuple[Library, int]:
    """The shared library for one instruction set, and its bytes when stripped."""
    c_library.build(folder, WAVENET_RUNTIME_ISAS=isa)
    stripped = folder / "stripped.so"
    shutil.copy(folder / "libwavenet.so", stripped)
    run("strip", "--strip-unneeded", str(stripped))
    return Library(folder / "libwavenet.so"), stripped.stat().st_size


def listening(library: Library, file: Path, heap: Heap) -> tuple[Callable[[], None], int]:
    """A second of noise, a chunk at a time, for a classifier of the library; bytes of memory."""
    before = heap.bytes()
    listener = Listener(library, file, 1.0, 0.1)
    memory = heap.bytes() - before
    # Called as C would call it: what ctypes adds is some tenths of a microsecond.
    push, read = (
        library.functions.wavenet_classifier_push,
        library.functions.wavenet_classifier_read,
    )
    classifier, decision = listener.classifier, ctypes.byref(Decision())
    held = [np.float32(chunk) for chunk in noise()]
    chunks = [(chunk, chunk.ctypes.data_as(FLOATS)) for chunk in held]

    def second() -> None:
        for chunk, pointer in chunks:
            taken = push(classifier, pointer, CHUNK)
            if taken < CHUNK:  # a decision waits
                read(classifier, decision)
                rest = chunk[taken:].ctypes.data_as(FLOATS)
                assert listener and push(classifier, rest, CHUNK - taken) == CHUNK - taken

    return second, memory


def stepping(model: WaveNetClassifier, folder: Path) -> Callable[[], None]:
    """The same second for onnxruntime."""
    from benchmarks.classifier.onnx_stream import OnnxStream

    stream = OnnxStream(model, folder / "step.onnx")
    chunks = [np.float32(chunk)[None] for chunk in noise()]

    def second() -> None:
        for chunk in chunks:
            stream.push(chunk)

    return second


def noise() -> list[np.ndarray]:
    """A second of it, in chunks."""
    return list(np.random.default_rng(0).uniform(-0.3, 0.3, (CHUNKS, CHUNK)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, build, measure, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks runtime",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    parser.add_argument("--isa", default="avx2", help="that the library is built for")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--build", type=Path, help="a folder of an earlier build, or for one")
    parser.add_argument("--no-onnxruntime", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    where, heap = environment(), Heap()
    rows: list[Row] = []
    seconds: dict[tuple[str, str], Callable[[], None]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        library, binary = built(options.build or folder / "build", options.isa)
        for preset in options.presets:
            torch.manual_seed(0)
            labels = [str(i) for i in range(10)]
            model = create_model(preset, labels=labels, sample_rate=RATE).eval()
            for weights in WEIGHTS:
                file = folder / f"{preset}-{weights}.wavenet"
                file.write_bytes(runtime_file(model, weights))
                second, memory = listening(library, file, heap)
                seconds[preset, weights] = second
                rows.append(
                    {
                        "workload": preset,
                        "contender": weights,
                        "file_kib": file.stat().st_size / 1024,
                        "memory_kib": memory / 1024,
                    }
                )
            if options.no_onnxruntime:
                continue
            row: Row = {"workload": preset, "contender": ONNX}
            try:
                seconds[preset, ONNX] = stepping(model, folder)
                row["file_kib"] = (folder / "step.onnx").stat().st_size / 1024
            except Exception as error:  # it is an extra, and its exporter another's
                row["error"] = sentence(error)
            rows.append(row)
        fill(rows, seconds, options.rounds)

    print(f"{binary / 1000:.0f} kB for {options.isa}, stripped\n")
    print(table_of("runtime", rows))
    out = options.out or RESULTS / f"runtime-{machine('cpu')}.json"
    content: dict[str, Any] = {
        "benchmark": "runtime",
        "rounds": options.rounds,
        "isa": library.functions.wavenet_instruction_set().decode(),
        "binary_bytes": binary,
        "load": os.getloadavg(),
    }
    write_results(out, {**content, **where, "rows": rows})


def fill(rows: list[Row], seconds: dict[tuple[str, str], Callable[[], None]], rounds: int) -> None:
    """Time everything, interleaved, into its row: microseconds for a chunk."""
    processor: dict[tuple[str, str], list[float]] = {key: [] for key in seconds}

    def timed(key: tuple[str, str]) -> Run:
        def second(_: object) -> None:
            started = time.process_time()
            seconds[key]()
            processor[key].append(time.process_time() - started)

        return Run(second)

    measured = interleave({key: timed(key) for key in seconds}, rounds=rounds)
    for row in rows:
        key = row["workload"], row["contender"]
        if key not in measured:
            continue
        median, low, high = (1e6 * value / CHUNKS for value in spread(measured[key]))
        row |= {
            "median_us": median,
            "p10_us": low,
            "p90_us": high,
            "processor_us": 1e6 * spread(processor[key][-rounds:])[0] / CHUNKS,
            "real_time": CHUNK / RATE * 1e6 / median,
        }
