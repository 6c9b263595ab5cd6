"""Builds csrc/cuda and its binding for the simulator in this folder, and loads the module.

    module = simt_build.load(simt_build.build())

`obstacle()` says why that can't work here, if it can't.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from benchmarks import programs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
FOLDER = ROOT / "build" / "simt"

# Measured on 15 sources: tests take the same time at any level, since the simulator takes most of
# it; to compile, -Og takes 33 s of a processor, -O0 34 s, -O1 41 s, -O2 53 s. Sanitized, -Og takes
# 71 s, and -O1 four times as much for the largest sources.
FLAGS = ["-std=c++17", "-Og", "-g1", "-fPIC", "-fvisibility=hidden", "-fno-math-errno"]
WARNINGS = ["-Wall", "-Wno-unknown-pragmas"]
# The simulator itself is compiled once and works for every kernel.
SIMULATOR_FLAGS = ["-O3"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
SIMULATOR = sorted(HERE.glob("*.cpp"))
PROCESSES = 2


@functools.cache
def obstacle() -> str | None:
    """Why nothing can be built here, or None."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    if cuda_include() is None:
        return "the CUDA headers are not installed"
    return None


@functools.cache
def cuda_include() -> Path | None:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        homes.append(str(Path(nvcc).resolve().parents[1]))
    for home in homes:
        if home and (Path(home) / "include" / "cuda_runtime_api.h").exists():
            return Path(home) / "include"
    return None


def build(folder: Path = FOLDER, *, sanitize: bool = False) -> Path:
    """Compiles what has changed; returns the Python module `_cuda`."""
    version = re.search(
        r'^__version__ = "(.*)"', (ROOT / "wavenet_kernels" / "__init__.py").read_text(), re.M
    )
    assert version is not None
    defines = [f'-DWAVENET_KERNELS_VERSION="{version[1]}"', '-DWAVENET_CUDA_ARCHS="simt"']
    finder = CSRC / "bindings" / "find_pybind11.py"
    found = subprocess.run([sys.executable, finder], capture_output=True, text=True, check=True)
    python = ["-isystem", found.stdout.strip(), "-isystem", sysconfig.get_paths()["include"]]
    cuda = CSRC / "cuda"
    kernels = [*cuda.rglob("*.cu"), *cuda.rglob("*.cpp"), *write_instances(folder / "instances")]
    sources = {source: defines for source in sorted(kernels)}
    sources[CSRC / "bindings" / "cuda.cpp"] = [*defines, *python]
    name = "_cuda" + sysconfig.get_config_var("EXT_SUFFIX")
    return link(folder, name, sources, ["-shared"], sanitize=sanitize)


def write_instances(folder: Path) -> list[Path]:
    """The sources that make an instance of a kernel each, as the build writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    script = str(CSRC / "cuda" / "instances.cmake")
    command = [programs.cmake(), f"-DWAVENET_INSTANCES_DIR={folder}", "-P", script]
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stderr.splitlines()]


def link(
    folder: Path,
    name: str,
    sources: dict[Path, list[str]],
    flags: list[str],
    *,
    sanitize: bool = False,
) -> Path:
    """A program or library of the sources, each with flags of its own, and the simulator.

    Objects and the result lie in a sub-folder of `folder` and are made again only where something
    has changed. Other processes may do the same at the same time.
    """
    reason = obstacle()
    assert reason is None, reason
    folder = folder / ("sanitized" if sanitize else "plain")
    folder.mkdir(parents=True, exist_ok=True)
    common = ["g++", *FLAGS, *WARNINGS, *(SANITIZE if sanitize else [])]
    include = [f"-I{CSRC}", f"-I{HERE}", "-isystem", str(cuda_include())]
    sources = {source: SIMULATOR_FLAGS for source in SIMULATOR} | sources
    with ThreadPoolExecutor(PROCESSES) as pool:
        compiling = []
        for source, own in sources.items():
            to = folder / f"{'-'.join(source.relative_to(ROOT).parts)}.o"
            command = [*common, "-DWAVENET_SIMT", *include, *own, "-c", "-x", "c++", str(source)]
            compiling.append(pool.submit(make, to, command, []))
        objects = [future.result() for future in compiling]
    return make(folder / name, [*common, *map(str, objects), *flags, "-Wl,-z,now"], objects)


def make(result: Path, command: list[str], inputs: list[Path]) -> Path:
    """Runs the command unless `result` was made by it, of the inputs and headers as they are."""
    record = result.with_name(f"{result.name}.json")
    with open(result.with_name(f"{result.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if result.exists() and record.exists():
            made = json.loads(record.read_text())
            if made["digest"] == _digest(command, made["inputs"]):
                return result
        # A new file each time: the old one may be loaded in some process.
        new, headers = (
            result.with_name(f"{prefix}-{result.name}") for prefix in ("new", "headers")
        )
        headers.unlink(missing_ok=True)
        with_headers = [*command, "-MMD", "-MF", str(headers), "-o", str(new)]
        done = subprocess.run(with_headers, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        names = [str(path) for path in inputs]
        if headers.exists():  # "result: source header header ...", with broken lines
            names += shlex.split(headers.read_text().partition(":")[2].replace("\\\n", " "))
        os.replace(new, result)
        record.write_text(json.dumps({"inputs": names, "digest": _digest(command, names)}))
        return result


def load(path: Path) -> ModuleType:
    """The module at `path`, beside `wavenet_kernels._cuda` and under a name of its own."""
    spec = importlib.util.spec_from_file_location("simt._cuda", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sanitized_environment() -> dict[str, str]:
    """The environment in which a Python can load what was built with `sanitize`."""
    libraries = []
    # libstdc++ too: AddressSanitizer looks for its functions at the start, before Python loads it.
    for library in ("libasan.so", "libubsan.so", "libstdc++.so"):
        command = ["g++", f"-print-file-name={library}"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        libraries.append(str(Path(found.stdout.strip()).resolve()))
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself never frees much of what it allocates
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def _digest(command: list[str], files: list[str]) -> str:
    digest = hashlib.sha256("\0".join([_compiler(), *command]).encode())
    for file in files:
        digest.update(Path(file).read_bytes() if Path(file).exists() else b"")
    return digest.hexdigest()


@functools.cache
def _compiler() -> str:
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
