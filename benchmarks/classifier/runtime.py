"""The C library on a stream, against onnxruntime on the same: size, memory, time.

    python -m benchmarks runtime
    python -m benchmarks runtime --run runs/fsdd    # and that model's accuracy, on its test clips

One thread, 10 ms of noise at a time, a decision every 100 ms about the last second. The library is
built for one instruction set; memory is what opening the file and making a classifier take from the
heap, the mapped file not counted. onnxruntime gets the network as a step of one frame whose history
goes in and comes out, the fastest that its graphs can say, without pooling and last layer. Weights
are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.compiled import c_library
from benchmarks.compiled.c_library import FLOATS, Decision, Library, Listener
from benchmarks.environment import BUILD, environment, machine, write_results
from benchmarks.programs import run
from benchmarks.reporting.rows import Row, sentence
from benchmarks.reporting.tables import table_of
from benchmarks.timing import Run, interleave, spread
from wavenet import StreamingClassifier, WaveNetClassifier, create_model
from wavenet.classifier.inference import load_model
from wavenet.classifier.inference.evaluate import Classify, choose_clips, classify_clips, metrics_of
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
    classifier, decision = listener.made, ctypes.byref(Decision())
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


def check(library: Library, file: Path, model: WaveNetClassifier, weights: str) -> None:
    """The library's decisions about a second are Python's.

    Raises:
        AssertionError: they are not; in int8 they may differ by a part of what int8 is off by.
    """
    heard = np.concatenate(noise()).astype(np.float32)

    def decided(weights: str) -> np.ndarray:
        listener = StreamingClassifier(model, weights=weights)
        decisions = listener.push(torch.from_numpy(heard)) + listener.finish()
        return np.stack([decision.logits.numpy() for decision in decisions])

    ours = Listener(library, file, 1.0, 0.1)
    logits = np.stack([decision[2] for decision in ours.push(heard) + ours.finish()])
    expected = decided(weights)
    allowed = 1e-4
    if weights == "int8":
        allowed += 0.3 * np.abs(expected - decided("float32")).max()
    np.testing.assert_allclose(logits, expected, atol=allowed)


def accuracies(run_folder: Path) -> dict[str, float]:
    """Of a trained classifier in each kind of weights, each test clip heard from start to end."""
    model = load_model(run_folder)
    chosen = choose_clips(run_folder, model.config, None, "test")
    window = 60.0 if model.config.clip_norm else None

    def heard_by(weights: str) -> Classify:
        listener = StreamingClassifier(model, window_seconds=window, weights=weights)

        def classify(waveform: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            logits = []
            for clip, length in zip(waveform, lengths.tolist(), strict=True):
                logits.append((listener.push(clip[:length]) + listener.finish())[-1].logits)
            return torch.stack(logits)

        return classify

    found = {}
    for weights in WEIGHTS:
        classified = classify_clips(
            heard_by(weights),
            model.config,
            chosen.clips,
            chosen.cache,
            max_samples=chosen.max_samples,
        )
        found[weights] = metrics_of(*classified, model.config.labels).accuracy
        print(f"{weights}: accuracy {found[weights]:.2%} on {len(chosen.clips)} clips")
    return found


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
    parser.add_argument("--run", type=Path, help="a trained classifier, for its accuracy")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    where, heap = environment(), Heap()
    accuracy = accuracies(options.run) if options.run else {}
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
                check(library, file, model, weights)
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
    out = options.out or BUILD / f"runtime-{machine('cpu')}.json"
    content: dict[str, Any] = {
        "benchmark": "runtime",
        "rounds": options.rounds,
        "isa": library.functions.wavenet_instruction_set().decode(),
        "binary_bytes": binary,
        "accuracy": accuracy,
    }
    write_results(out, {**content, **where, "rows": rows})


def fill(rows: list[Row], seconds: dict[tuple[str, str], Callable[[], None]], rounds: int) -> None:
    """Time everything, interleaved, into its row: microseconds for a chunk."""

    def timed(second: Callable[[], None]) -> Run:
        return Run(lambda _: second())

    measured = interleave({key: timed(second) for key, second in seconds.items()}, rounds=rounds)
    for row in rows:
        key = row["workload"], row["contender"]
        if key not in measured:
            continue
        median, low, high = (1e6 * value / CHUNKS for value in spread(measured[key]))
        row |= {
            "median_us": median,
            "p10_us": low,
            "p90_us": high,
            "processor_us": 1e6 * spread([one.processor for one in measured[key]])[0] / CHUNKS,
            "real_time": CHUNK / RATE * 1e6 / median,
        }
