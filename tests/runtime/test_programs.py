"""Programs that use the C library as others would, or worse."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from small_amplifiers import played, small_amplifier
from small_classifiers import signal, small, write
from small_generators import inputs_of, small_generator

import wavenet
from benchmarks.compiled import c_library, fuzzing
from benchmarks.programs import cmake as find_cmake
from benchmarks.programs import run
from wavenet.classifier.inference.streaming import StreamingClassifier
from wavenet.generation.runtime import generator_file
from wavenet.networks.runtime import amplifier_file

pytestmark = pytest.mark.slow  # the library is compiled first

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "c"


def compiled(source: Path, library: Path, *options: str, compiler: str = "c++") -> Path:
    """The program, with the static library that was built in a folder."""
    program = library / source.stem
    run(
        *(compiler, str(source), "-O0", f"-I{c_library.RUNTIME}", "-Wall", "-Wextra", "-Werror"),
        *(*options, str(library / "libwavenet.a"), "-lstdc++", "-lm", "-o", str(program)),
    )
    return program


@pytest.fixture(scope="module")
def static_library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("static")
    return c_library.build(folder, BUILD_SHARED_LIBS="OFF", WAVENET_RUNTIME_ISAS="portable")


def test_nothing_is_allocated_while_it_listens(static_library, tmp_path):
    program = compiled(HERE / "quiet.cpp", static_library, "-std=c++17")
    for fields, weights in (
        ({"pooling": "attention", "input": "mu-law"}, "float32"),
        ({"clip_norm": True}, "int8"),
        ({"input": "one-hot", "stem_stride": 1}, "bfloat16"),
        ({"frame_ms": 400.0, "stem_stride": 2, "kernel_size": 3}, "int8"),  # of 200 steps
        ({"filters": 7, "filter_layers": 2, "stem_stride": 20, "filter_blocks": 1}, "float32"),
    ):
        said = run(str(program), str(write(small(**fields), tmp_path, weights)))
        assert " 0 allocations" in said, said
        assert not said.startswith("0 decisions"), said


def test_nothing_is_allocated_while_it_makes_sound(static_library, tmp_path):
    program = compiled(HERE / "quiet.cpp", static_library, "-std=c++17")
    for case in ("codes", "mel repeated", "mel smoothed over channels", "mel by deconvolution"):
        (tmp_path / "model.wavenet").write_bytes(generator_file(small_generator(case)))
        said = run(str(program), str(tmp_path / "model.wavenet"))
        assert " 0 allocations" in said, said
        assert not said.startswith("0 samples"), said


def test_nothing_is_allocated_while_it_plays(static_library, tmp_path):
    program = compiled(HERE / "quiet.cpp", static_library, "-std=c++17")
    (tmp_path / "model.wavenet").write_bytes(amplifier_file(small_amplifier()))
    said = run(str(program), str(tmp_path / "model.wavenet"))
    assert said.startswith("3000 samples, 0 allocations"), said


def test_hostile_files_under_sanitizers(tmp_path):
    library = c_library.build(
        tmp_path / "sanitized",
        BUILD_SHARED_LIBS="OFF",
        WAVENET_RUNTIME_ISAS="portable",
        WAVENET_RUNTIME_SANITIZE="address,undefined",
        CMAKE_BUILD_TYPE="Debug",
        CMAKE_CXX_FLAGS_DEBUG="-O1 -g1",
    )
    program = compiled(
        HERE / "hostile.cpp", library, "-std=c++17", "-fsanitize=address,undefined", "-g1"
    )
    for seed, content in enumerate(fuzzing.seeds()):
        (tmp_path / "model.wavenet").write_bytes(content)
        said = run(str(program), str(tmp_path / "model.wavenet"), "700", str(seed))
        assert said.startswith("used ") and not said.startswith("used 0,"), said


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about instructions of x86")
def test_variants_that_an_older_compiler_does_not_know_are_left_out(tmp_path):
    older = tmp_path / "older-c++"
    older.write_text('#!/bin/sh\ncase "$*" in *-mavxvnni*) exit 1 ;; esac\nexec c++ "$@"\n')
    older.chmod(0o755)

    def variants(compiler: str) -> set[str]:
        folder = tmp_path / f"by-{Path(compiler).name}"
        definitions = (f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_BUILD_TYPE=Release")
        run(find_cmake(), "-S", str(c_library.RUNTIME), "-B", str(folder), *definitions)
        targets = run(find_cmake(), "--build", str(folder), "--target", "help")
        return set(re.findall(r"wavenet_(\w+)_int8", targets))

    known = variants("c++")
    assert {"portable", "avx2", "avx512"} <= known
    assert variants(str(older)) == known - {"avxvnni"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about instructions of x86")
@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_a_library_for_one_instruction_set_is_small(built, tmp_path, isa):
    stripped = tmp_path / "libwavenet.so"
    run("strip", "--strip-unneeded", str(built(isa) / "libwavenet.so"), "-o", str(stripped))
    assert stripped.stat().st_size < 300_000


def test_fuzzed_for_a_moment(tmp_path):
    """`make fuzz` goes on for longer."""
    clang = fuzzing.compiler()
    if clang is None:
        pytest.skip("there is no clang++ with -fsanitize=fuzzer")
    figures = fuzzing.fuzz(fuzzing.build(tmp_path, clang), tmp_path, seconds=15)
    assert not figures["crashes"], figures["crash"]
    assert figures["executions"] > len(fuzzing.seeds())
    assert figures["edges reached"] > 1000  # models are used, not refused
    assert figures["peak megabytes"] < 2048  # the fuzzer's own, however large this process is


def listened(command: list[str], heard: np.ndarray, **options: object) -> list[list[str]]:
    """The lines that the example prints about 16-bit PCM."""
    pcm = np.int16(heard * 32767).astype("<i2").tobytes()
    done = subprocess.run(command, input=pcm, capture_output=True, check=True, **options)  # type: ignore[call-overload]
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


def expected(
    model: wavenet.WaveNetClassifier, heard: np.ndarray, weights: str = "float32"
) -> list[list[str]]:
    listener = StreamingClassifier(model, window_seconds=0.5, hop_seconds=0.2, weights=weights)
    pcm = torch.from_numpy(np.int16(heard * 32767) / np.float32(32768))
    decisions = listener.push(pcm) + listener.finish()
    return [[f"{d.start:.4f}", f"{d.end:.4f}", d.label, str(d.probability)] for d in decisions]


def agree(ours: list[list[str]], theirs: list[list[str]]) -> None:
    assert [line[:3] for line in ours] == [line[:3] for line in theirs]
    np.testing.assert_allclose(
        [float(line[3]) for line in ours], [float(line[3]) for line in theirs], atol=2e-5
    )


def test_installed_library_is_found_by_cmake_and_pkg_config(tmp_path, library_folder):
    prefix = tmp_path / "prefix"
    cmake = find_cmake()
    run(cmake, "--install", str(library_folder), "--prefix", str(prefix))
    build = tmp_path / "build"
    run(cmake, "-S", str(EXAMPLES), "-B", str(build), f"-DCMAKE_PREFIX_PATH={prefix}")
    run(cmake, "--build", str(build))
    model, heard = small(pooling="attention"), signal(2345)
    command = [str(build / "listen"), str(write(model, tmp_path)), "0.5", "0.2"]
    agree(listened(command, heard), expected(model, heard))
    for case in ("codes", "mel smoothed over channels"):
        spoken([str(build / "speak")], case, tmp_path)
    plays([str(build / "play")], tmp_path)
    refused = subprocess.run([command[0], str(EXAMPLES / "listen.c")], capture_output=True)
    assert refused.returncode == 1 and b"is no model file" in refused.stderr

    if shutil.which("pkg-config"):
        (described,) = prefix.rglob("wavenet.pc")
        asked = ("pkg-config", "--cflags", "--libs", "wavenet")
        flags = run(*asked, PKG_CONFIG_PATH=str(described.parent)).split()
        program = tmp_path / "by-pkg-config"
        run("cc", str(EXAMPLES / "listen.c"), *flags, "-o", str(program))
        found = {"LD_LIBRARY_PATH": str(described.parents[1])}
        agree(listened([str(program), *command[1:]], heard, env=found), expected(model, heard))


def spoken(program: list[str], case: str, folder: Path) -> None:
    """The example says what Python generates, to rounding."""
    model, samples = small_generator(case), 320
    (folder / "speaking.wavenet").write_bytes(generator_file(model))
    given = inputs_of(model, 1, samples)
    expected = model.generate(samples=samples, seed=3, **given)[0].numpy()
    frames = []
    if "mel" in given:
        given["mel"][0].T.numpy().astype("<f4").tofile(folder / "frames")
        frames = [str(folder / "frames")]
    command = [*program, str(folder / "speaking.wavenet"), str(samples / 8000), "3", *frames]
    pcm = subprocess.run(command, capture_output=True, check=True).stdout
    said = np.frombuffer(pcm, "<i2")
    assert len(said) == samples and np.abs(said).max() > 300
    np.testing.assert_allclose(said / 32767, expected, atol=2e-4)
    if frames:
        refused = subprocess.run(command[:-1], capture_output=True)
        assert refused.returncode == 1 and b"wants frames of 5 numbers" in refused.stderr


def plays(program: list[str], folder: Path) -> None:
    """The example plays what the model makes of the signal, to rounding."""
    model = small_amplifier()
    (folder / "playing.wavenet").write_bytes(amplifier_file(model))
    pcm = np.int16(16000 * np.sin(np.arange(700) ** 1.5 / 50)).astype("<i2")
    command = [*program, str(folder / "playing.wavenet")]
    done = subprocess.run(command, input=pcm.tobytes(), capture_output=True, check=True)
    expected = played(model, pcm / np.float32(32768))
    assert 0.01 < expected.std() and np.abs(expected).max() < 1
    np.testing.assert_allclose(np.frombuffer(done.stdout, "<i2") / 32767, expected, atol=2e-5)


def probabilities(lines: list[list[str]]) -> np.ndarray:
    return np.array([float(line[3]) for line in lines])


@pytest.mark.parametrize(
    "processor, prefix, isa, chips",
    [
        # Without dot products of bytes, and with them.
        ("aarch64", "aarch64-linux-gnu", "neon", ("cortex-a53", "cortex-a76")),
        ("arm", "arm-linux-gnueabihf", "portable", ("cortex-a15",)),
    ],
)
def test_on_other_processors(tmp_path, processor, prefix, isa, chips):
    emulator = shutil.which(f"qemu-{processor}")
    if not emulator or not shutil.which(f"{prefix}-g++"):
        pytest.skip(f"no {prefix}-g++ or no qemu-{processor}")
    library = c_library.build(
        tmp_path,
        BUILD_SHARED_LIBS="OFF",
        CMAKE_SYSTEM_NAME="Linux",
        CMAKE_SYSTEM_PROCESSOR=processor,
        CMAKE_CXX_COMPILER=f"{prefix}-g++",
    )
    program = compiled(EXAMPLES / "listen.c", library, "-static", compiler=f"{prefix}-gcc")
    for fields in ({"pooling": "attention", "input": "mu-law"}, {"clip_norm": True}):
        model, heard = small(**fields), signal(2345)
        command = [emulator, str(program), str(write(model, tmp_path)), "0.5", "0.2"]
        agree(listened(command, heard), expected(model, heard))
        said = subprocess.run(command, input=b"", capture_output=True, check=True).stderr
        assert said.decode() == f"1000 Hz, {isa}\n"
    speak = compiled(EXAMPLES / "speak.c", library, "-static", compiler=f"{prefix}-gcc")
    for case in ("codes", "logistic", "mel smoothed over channels"):
        spoken([emulator, str(speak)], case, tmp_path)
    play = compiled(EXAMPLES / "play.c", library, "-static", compiler=f"{prefix}-gcc")
    plays([emulator, str(play)], tmp_path)
    # In int8 a last bit may round an activation the other way: to a part of what int8 is off by.
    model = small(pooling="attention", residual_channels=24, dilation_channels=24)
    path = write(model, tmp_path, "int8")
    exact, rounded = (expected(model, heard, weights) for weights in ("float32", "int8"))
    error = probabilities(rounded) - probabilities(exact)
    for chip in chips:
        lines = listened([emulator, "-cpu", chip, str(program), str(path), "0.5", "0.2"], heard)
        assert [line[:2] for line in lines] == [line[:2] for line in rounded]
        apart = probabilities(lines) - probabilities(rounded)
        assert np.abs(apart).max() < 0.3 * np.abs(error).max()
