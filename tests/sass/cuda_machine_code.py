"""The cuda backend on CPU tensors, its kernels run from the machine code of the built extension.

What the host does (plans, packing, arguments) is csrc/cuda as tests/simt builds it, which hands
each launch over with its parameters as bytes; the kernel of that name in `wavenet_kernels._cuda`
runs.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import executor
import machine_code
import simt_build
from executor import Launch, Launched
from machine_code import Kernel
from on_cpu import SimulatedGpu

from wavenet_kernels.backends import cuda

_Hook = ctypes.CFUNCTYPE(
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint * 3),
    ctypes.POINTER(ctypes.c_uint * 3),
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_size_t,
)


def obstacle(arch: str) -> str | None:
    """Why nothing can be run here, or None."""
    if reason := simt_build.obstacle() or executor.obstacle():
        return reason
    if extension() is None:
        return "wavenet_kernels is built without CUDA"
    if not _kernels(arch):
        return f"wavenet_kernels._cuda is built without code for {arch}"
    return None


@contextmanager
def machine_code_in_force(
    arch: str, alter: Callable[[Kernel], Kernel] = lambda kernel: kernel
) -> Iterator[list[Launched]]:
    """The cuda backend computes by machine code for that chip, such as "sm_90a".

    `alter` makes of each kernel the one that runs. Gives what has run.
    """
    done = []

    def execute(launch: Launch) -> None:
        kernel, sizes = alter(launch.load()), (launch.grid, launch.threads, launch.shared_bytes)
        done.append(Launched(kernel, executor.run(kernel, *sizes, launch.parameters)))

    with launches_taken_over(arch, execute):
        yield done


@contextmanager
def launches_taken_over(arch: str, execute: Callable[[Launch], None]) -> Iterator[None]:
    """The cuda backend's launches, of kernels for that chip, go to `execute`."""
    path = simt_build.build()
    library = ctypes.CDLL(str(path))
    hook = _Hook(_Launches(arch, path, execute).take)
    library.wavenet_simt_run_elsewhere(hook)
    try:
        with cuda.use_machine(SimulatedGpu(simt_build.load(path))):
            yield
    finally:
        library.wavenet_simt_run_elsewhere(None)


class _Launches:
    """Finds a launch's kernel by its namesake's address in the module that tests/simt builds."""

    def __init__(self, arch: str, module: Path, execute: Callable[[Launch], None]) -> None:
        self._execute = execute
        self._kernels = _kernels(arch)
        self._symbols = _symbols(module)
        self._error = ctypes.create_string_buffer(b"")

    def take(self, function, grid, threads, shared_bytes, parameters, size) -> int | None:  # noqa: ANN001
        """Called from C: returns the address of what went wrong, or None."""
        try:
            name = _comparable(self._symbols[function])
            load = functools.partial(_load, *self._kernels[name])
            data = ctypes.string_at(parameters, size)
            sizes = tuple(grid.contents), tuple(threads.contents), shared_bytes
            self._execute(Launch(name, load, *sizes, data))
        except Exception as problem:
            self._error = ctypes.create_string_buffer(
                f"{type(problem).__name__}: {problem}".encode()
            )
            return ctypes.addressof(self._error)
        return None


@functools.cache
def _load(cubin: Path, name: str) -> Kernel:
    return machine_code.load(cubin.read_bytes(), name)


@functools.cache
def _kernels(arch: str) -> dict[str, tuple[Path, str]]:
    """Cubin and name of each kernel of the extension."""
    return {
        _comparable(name): (cubin, name)
        for cubin in _cubins(arch)
        for name in machine_code.kernel_names(cubin.read_bytes())
    }


def extension() -> Path | None:
    spec = importlib.util.find_spec("wavenet_kernels._cuda")
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _cubins(arch: str) -> list[Path]:
    """Taken out of the extension, into build/sass."""
    path = extension()
    assert path is not None
    key = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    folder = machine_code.FOLDER / "cubins" / f"{arch}-{key}"
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        new.mkdir(parents=True)
        tool = str(machine_code.nvidia_tool("cuobjdump"))
        command = [tool, "-arch", arch, "-xelf", "all", str(path)]
        subprocess.run(command, cwd=new, check=True, capture_output=True)
        try:
            os.replace(new, folder)
        except OSError:  # another process was faster
            shutil.rmtree(new)
    return sorted(folder.glob("*.cubin"))


def _symbols(module: Path) -> dict[int, str]:
    """Names of functions by their addresses in this process."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    base = next(int(line.split("-")[0], 16) for line in maps if line.endswith(str(module)))
    listing = subprocess.run(["nm", str(module)], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return {base + int(row[0], 16): row[2] for row in rows if len(row) == 3 and row[1] in "tTwW"}


def _comparable(name: str) -> str:
    """With anonymous namespaces called as g++ does; nvcc numbers them."""
    return re.sub(r"\d+_GLOBAL__N__\w+?_cu_[0-9a-f]{8}", "12_GLOBAL__N_1", name)
