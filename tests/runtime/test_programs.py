"""Programs that use the C library as others would, or worse."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import c_library
import numpy as np
import pytest
import torch
from small_classifiers import signal, small, write

import wavenet
from benchmarks.programs import cmake as find_cmake
from benchmarks.programs import run
from wavenet.classifier.inference.streaming import StreamingClassifier

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
    for fields in (
        {"pooling": "attention", "input": "mu-law"},
        {"clip_norm": True},
        {"input": "one-hot", "stem_stride": 1},
        {"frame_ms": 400.0, "stem_stride": 2, "kernel_size": 3},  # frames of 200 steps
    ):
        said = run(str(program), str(write(small(**fields), tmp_path)))
        assert " 0 allocations" in said, said
        assert not said.startswith("0 decisions"), said


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
    tiny = {"layers_per_stack": 2, "stacks": 1, "residual_channels": 4, "skip_channels": 5}
    for seed, fields in enumerate(({}, {"clip_norm": True}, {"pooling": "attention"})):
        model = write(small(**tiny, dilation_channels=3, head_channels=6, **fields), tmp_path)
        said = run(str(program), str(model), "2000", str(seed))
        assert said.startswith("used ") and not said.startswith("used 0,"), said


def listened(command: list[str], heard: np.ndarray, **options: object) -> list[list[str]]:
    """The lines that the example prints about 16-bit PCM."""
    pcm = np.int16(heard * 32767).astype("<i2").tobytes()
    done = subprocess.run(command, input=pcm, capture_output=True, check=True, **options)  # type: ignore[call-overload]
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


def expected(model: wavenet.WaveNetClassifier, heard: np.ndarray) -> list[list[str]]:
    listener = StreamingClassifier(model, window_seconds=0.5, hop_seconds=0.2)
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


@pytest.mark.parametrize(
    "processor, prefix, isa",
    [("aarch64", "aarch64-linux-gnu", "neon"), ("arm", "arm-linux-gnueabihf", "portable")],
)
def test_on_other_processors(tmp_path, processor, prefix, isa):
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
