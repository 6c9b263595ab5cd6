"""`python -m benchmarks fuzz`: model files that mean harm, by libFuzzer, against the C library.

The library, of this processor's instruction set, and tests/runtime/fuzz.cpp are built by a clang
that has libFuzzer (Debian: clang and libclang-rt-dev), under AddressSanitizer and UBSan. The fuzzer
starts from small models of every kind, keeps the files that reach something new in FOLDER/corpus,
where a later run goes on, and stops at the first file that breaks the library, which it leaves in
FOLDER.

--write commits to the figures: executions, edges of the control flow that were reached, crashes.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.compiled import c_library
from benchmarks.compiled.native import best_isa
from benchmarks.environment import RESULTS, environment, write_results
from benchmarks.programs import run
from wavenet import GeneratorConfig, WaveNet, WaveNetClassifier, WaveNetConfig
from wavenet.classifier.inference.runtime import runtime_file
from wavenet.data.mel import MelConfig
from wavenet.generation.runtime import generator_file
from wavenet.networks.amplifier import Amplifier, AmplifierConfig, LayersConfig
from wavenet.networks.runtime import amplifier_file, stack_file
from wavenet_kernels.nn import ResidualStack

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "tests" / "runtime" / "fuzz.cpp"
COMMITTED = RESULTS / "fuzzing.json"
SANITIZERS = "address,undefined"
# libFuzzer limits the most memory that its process ever had, as the system counts it: from before
# exec on, so that of a large process, this one, that starts it. A shell between them is small.
SMALL_PARENT = ("sh", "-c", '"$@"; exit $?', "sh")
_SIZES: dict[str, Any] = {"residual_channels": 4, "dilation_channels": 3, "skip_channels": 5}
_CLASSIFIER: dict[str, Any] = {
    **{"labels": ("dog", "rain", "wind"), "sample_rate": 1000, "frame_ms": 20.0},
    **{"stem_stride": 4, "stem_kernel_size": 9, "head_channels": 6},
    **{"layers_per_stack": 2, "stacks": 1, **_SIZES},
}
_GENERATOR: dict[str, Any] = {
    "sample_rate": 1000,
    "layers_per_stack": 2,
    "stacks": 1,
    "head_channels": 5,
    **_SIZES,
}


def seeds() -> list[bytes]:
    """Small good files of each kind, in all weights."""
    torch.manual_seed(0)
    mel = MelConfig(sample_rate=1000, n_fft=16, hop=4, window=16, mels=3, high_hz=500.0)
    interpolated = {"upsample_scales": (2, 2), "context_frames": 1, "upsample_convolution": True}
    classifiers: list[tuple[dict[str, Any], str]] = [
        ({}, "float32"),
        ({"clip_norm": True, "head_kernel_size": 3}, "bfloat16"),
        ({"pooling": "attention"}, "int8"),
        ({"input": "one-hot", "stem_stride": 1, "stem_kernel_size": 2, "stacks": 2}, "float32"),
        ({"layers_per_stack": 1, "filters": 3, "filter_layers": 1}, "float32"),
    ]
    generators: list[dict[str, Any]] = [
        {"classes": 16},
        {"distribution": "gaussian", "mixtures": 3, "sampling_scale_floor": -5.0},
        {"distribution": "logistic", "mixtures": 2, "stem_kernel_size": 3, "kernel_size": 3},
        {"distribution": "gaussian", "mel": mel, "gain": 0.5, "pre_emphasis": 0.5, **interpolated},
        {"distribution": "logistic", "mel": mel, "upsample": "deconvolution"},
        {"classes": 16, "mel": mel, "upsample": "repeat", "context_frames": 2},
    ]
    arrays = LayersConfig(3, dilations=(1, 4)), LayersConfig(2, dilations=(2,), gated=True)
    return [
        *(
            runtime_file(WaveNetClassifier(WaveNetConfig(**{**_CLASSIFIER, **fields})), weights)
            for fields, weights in classifiers
        ),
        *(
            generator_file(WaveNet(GeneratorConfig(**_GENERATOR, **fields)))
            for fields in generators
        ),
        *(
            stack_file(ResidualStack(3, 4, 5, dilations=(1, 2)), weights)
            for weights in ("float32", "int8")
        ),
        amplifier_file(Amplifier(AmplifierConfig(arrays=arrays))),
    ]


def compiler() -> str | None:
    """A clang++ whose programs can be fuzzed, by its name; None where there is none."""
    names = ["clang++", *(f"clang++-{version}" for version in range(22, 9, -1))]
    flags = ("-fsanitize=fuzzer,address", "-x", "c++", "-", "-o", "/dev/null")
    empty = b'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }'
    for name in filter(shutil.which, names):
        if not subprocess.run([name, *flags], input=empty, capture_output=True).returncode:
            return name
    return None


def build(folder: Path, clang: str) -> Path:
    """The fuzzer with the library in it."""
    library = c_library.build(
        folder / "library",
        BUILD_SHARED_LIBS="OFF",
        CMAKE_CXX_COMPILER=clang,
        WAVENET_RUNTIME_ISAS=best_isa(),
        WAVENET_RUNTIME_SANITIZE=f"{SANITIZERS},fuzzer-no-link",
        CMAKE_BUILD_TYPE="Debug",
        CMAKE_CXX_FLAGS_DEBUG="-O1 -g1",
    )
    program = folder / "fuzz"
    run(
        *(clang, "-std=c++17", "-O1", "-g1", "-Wall", "-Wextra", "-Werror", str(TARGET)),
        *(f"-fsanitize=fuzzer,{SANITIZERS}", "-fno-sanitize-recover=all"),
        *(f"-I{c_library.RUNTIME}", str(library / "libwavenet.a"), "-o", str(program)),
    )
    return program


def fuzz(program: Path, folder: Path, seconds: int) -> dict[str, int | str]:
    """Runs it; its figures. Of a crash, "crash" is what the fuzzer says of it."""
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    longest = 0
    for seed in seeds():
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)  # as the fuzzer names files
        longest = max(longest, len(seed))
    done = subprocess.run(
        [
            *(*SMALL_PARENT, str(program), str(corpus), f"-artifact_prefix={folder}/"),
            *("-print_final_stats=1", f"-max_total_time={seconds}", f"-max_len={longest + 1024}"),
            *("-timeout=30", "-rss_limit_mb=4096", "-seed=1", "-reload=0"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
    )
    figures = figures_of(done.stderr)
    if done.returncode:
        figures["crash"] = done.stderr[-4000:]
    return {"seconds": seconds, **figures, "crashes": int(done.returncode != 0)}


def figures_of(said: str) -> dict[str, int | str]:
    """The numbers in what libFuzzer prints."""

    def last(pattern: str) -> int:
        found = re.findall(pattern, said)
        return int(found[-1]) if found else 0

    return {
        "executions": last(r"stat::number_of_executed_units: +(\d+)"),
        "edges": last(r"\(\s*(\d+) inline 8-bit counters\)"),
        "edges reached": last(r"cov: (\d+)"),
        "files kept": last(r"corp: (\d+)/"),
        "peak megabytes": last(r"stat::peak_rss_mb: +(\d+)"),
        "slowest seconds": last(r"stat::slowest_unit_time_sec: +(\d+)"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, build, run, print; leave with 1 where something broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--write", action="store_true", help=f"commit to them: {COMMITTED.name}")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz")
    options = parser.parse_args(arguments)
    clang = compiler()
    if clang is None:
        raise SystemExit("Not fuzzed: there is no clang++ with -fsanitize=fuzzer.")
    where = environment()  # the commit that runs, whatever is edited meanwhile
    options.folder.mkdir(parents=True, exist_ok=True)
    figures = fuzz(build(options.folder, clang), options.folder, options.seconds)
    crash = figures.pop("crash", None)
    for name, figure in figures.items():
        print(f"{name:16} {figure:>12,}")
    if options.write:
        version = run(clang, "--version").splitlines()[0]
        write_results(
            COMMITTED, {**where, "compiler": version, "sanitizers": SANITIZERS, **figures}
        )
    if crash:
        raise SystemExit(f"{crash}\n\nThe file that did it is in {options.folder}.")
