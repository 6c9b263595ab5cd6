"""The triton backend on CPU tensors, its launches compiled for a chip and run from machine code."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import executor
import machine_code
import torch
from executor import Launch, Launched
from machine_code import Kernel

from benchmarks.compiled import triton_kernels
from wavenet_kernels.backends.triton.launcher import Launcher

_FORMATS = {"i64": "q", "i32": "i", "fp32": "f"}
_EMPTY = 16  # an address for tensors without elements, aligned and never read


class CompilingLauncher(Launcher):
    """Launches are compiled for a chip of that architecture and go to `take`."""

    def __init__(self, arch: int, processors: int) -> None:
        self.arch, self.multiprocessors = arch, processors

    def take(self, launch: Launch) -> None:
        raise NotImplementedError

    def unavailable(self) -> None:
        return None

    def accepts(self, device: torch.device) -> bool:
        return True

    def architecture(self, device: torch.device) -> str:
        return f"sm_{self.arch}"

    def processors(self, device: torch.device) -> int:
        return self.multiprocessors

    def numerics(self, like: torch.Tensor) -> dict[str, object]:
        half = like.dtype != torch.float32
        tf32 = not half and torch.get_float32_matmul_precision() != "highest"
        return {"PRECISION": "tf32" if tf32 else "ieee", "HARDWARE_TANH": half}

    def bind(self, kernel: Any, grid: tuple[int, ...]) -> Callable[..., object]:
        def launch(*args: Any, **options: Any) -> None:
            self.take(self.compiled(kernel, grid, args, options))

        return launch

    def compiled(self, kernel: Any, grid: tuple[int, ...], args: Any, options: Any) -> Launch:
        """The launch with the kernel that Triton makes for it."""
        dtype = next(str(a.dtype).removeprefix("torch.") for a in args if torch.is_tensor(a))
        launch = triton_kernels.specialise("", dtype, kernel, args, options)
        made = triton_kernels.compile_launch(launch, self.arch)
        (name,) = machine_code.kernel_names(made.asm["cubin"])
        code = machine_code.load(made.asm["cubin"], name)
        values = {**dict(zip(kernel.arg_names, args, strict=False)), **options}
        parameters = _parameters(launch.signature, values)
        parameters = parameters.ljust(code.parameter_bytes, b"\0")  # Triton's own, of no use here
        threads = (32 * launch.num_warps, 1, 1)
        sizes = (*grid, 1, 1)[:3], threads, made.metadata.shared
        return Launch(kernel.__name__, lambda: code, *sizes, parameters)


class MachineCodeLauncher(CompilingLauncher):
    """Launches go to the executor.

    `done` lists what has run; `alter` makes of each kernel the one that runs.
    """

    def __init__(
        self, arch: int, *, alter: Callable[[Kernel], Kernel] = lambda kernel: kernel
    ) -> None:
        super().__init__(arch, processors=3)  # so that persistent programs walk several tiles
        self.alter = alter
        self.done: list[Launched] = []

    def take(self, launch: Launch) -> None:
        kernel, sizes = self.alter(launch.load()), (launch.grid, launch.threads)
        executed = executor.run(kernel, *sizes, launch.shared_bytes, launch.parameters)
        self.done.append(Launched(kernel, executed))


def _parameters(signature: Any, values: dict[str, Any]) -> bytes:
    """As they lie in constant memory: one after the other, each aligned to its size."""
    packed = b""
    for name, kind in signature:
        if kind == "constexpr":
            continue
        value = values[name]
        if kind.startswith("*"):
            value, kind = value.data_ptr() if value.numel() else _EMPTY, "i64"
        number = struct.pack(f"<{_FORMATS[kind]}", value)
        packed += bytes(-len(packed) % len(number)) + number
    return packed
