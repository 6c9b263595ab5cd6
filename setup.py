"""Runs CMake for the compiled modules; everything else about the package is in pyproject.toml."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CleanBuild(build):
    """Builds into an empty folder: setuptools ships whatever is there, of any earlier build."""

    def run(self) -> None:
        for package in ("wavenet", "wavenet_kernels"):
            shutil.rmtree(Path(self.build_lib) / package, ignore_errors=True)
        super().run()


class CleanWheel(bdist_wheel):
    """The same for the folder that is zipped, which an interrupted build leaves behind."""

    def run(self) -> None:
        shutil.rmtree(self.bdist_dir, ignore_errors=True)
        super().run()


class CMakeBuild(build_ext):
    """Builds CMakeLists.txt into the package: the source tree when editable, else the wheel."""

    def run(self) -> None:
        top = ROOT if self.inplace else Path(self.build_lib).resolve()
        # An editable build keeps its folder, so that the next one is incremental.
        editable = ROOT / "build" / f"editable-{sys.implementation.cache_tag}"
        build = editable if self.inplace else Path(self.build_temp).resolve() / "cmake"
        cmake, ninja = _program("cmake"), _program("ninja")
        if cmake is None:
            raise RuntimeError("cmake was not found; `pip install cmake` provides it")
        generator = "Ninja" if ninja else "Unix Makefiles"
        _drop_unusable(build, generator)
        configure = [
            cmake,
            *("-S", str(ROOT), "-B", str(build), "-G", generator),
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DWAVENET_KERNELS_OUTPUT_DIR={top / 'wavenet_kernels'}",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
        ]
        # Not left to the cache: they are another build's answer by now, perhaps.
        for name in ("WAVENET_KERNELS_CUDA", "WAVENET_KERNELS_CUDA_ARCHS"):
            configure.append(
                f"-D{name}={os.environ[name]}" if os.environ.get(name) else f"-U{name}"
            )
        if ninja:
            configure.append(f"-DCMAKE_MAKE_PROGRAM={ninja}")
        jobs = str(self.parallel or _jobs())
        for command in (configure, [cmake, "--build", str(build), "--parallel", jobs]):
            if subprocess.run(command).returncode != 0:
                raise SystemExit("CMake failed: its own message above says why")

    # CMake decides which modules there are, so setuptools need not look for them one by one.
    def get_outputs(self) -> list[str]:
        folder = Path(self.build_lib) / "wavenet_kernels"
        return [] if self.inplace else [str(path) for path in folder.glob("_c*.so")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


def _jobs() -> int:
    """Compilers side by side: what the environment asks for, else the CPUs that may be used."""
    for name in ("CMAKE_BUILD_PARALLEL_LEVEL", "MAX_JOBS"):
        value = os.environ.get(name)
        if not value:
            continue
        if not value.isdecimal() or int(value) < 1:
            raise SystemExit(f"{name} is {value!r}; accepted is a number of jobs, from 1")
        return int(value)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _program(name: str) -> str | None:
    """On PATH (a build environment's own), or beside this Python (a virtual environment's)."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _drop_unusable(build: Path, generator: str) -> None:
    """Deletes a build folder that CMake would refuse: of other tools, or of another place."""
    cache = build / "CMakeCache.txt"
    if not cache.exists():
        return
    entries = {}
    for line in cache.read_text().splitlines():
        name, _, value = line.partition("=")
        entries[name.partition(":")[0]] = value
    vanished = [
        name
        for name in ("CMAKE_COMMAND", "CMAKE_MAKE_PROGRAM", "PYBIND11_INCLUDE_DIR")
        if name in entries and not Path(entries[name]).exists()
    ]
    moved = Path(entries.get("CMAKE_HOME_DIRECTORY", "")) != ROOT
    if vanished or moved or entries.get("CMAKE_GENERATOR") != generator:
        shutil.rmtree(build)


def _readme() -> str:
    """README.md for a package index, where links to files lead nowhere: their words stay."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"!\[[^]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^]]+)\]\((?!https?:|#)[^)]*\)", r"\1", text)


# The extension is listed for its presence alone: it makes the wheel a platform wheel.
setup(
    ext_modules=[Extension("wavenet_kernels._cpu", sources=[])],
    cmdclass={"bdist_wheel": CleanWheel, "build": CleanBuild, "build_ext": CMakeBuild},
    long_description=_readme(),
    long_description_content_type="text/markdown",
)
