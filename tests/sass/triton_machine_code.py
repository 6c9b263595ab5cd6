"""The triton backend on CPU tensors, its launches compiled for a chip and run from machine code."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import executor
import machine_code
import torch
from executor import Launched
from machine_code import Kernel

from benchmarks.compiled import triton_kernels
from wavenet_kernels.backends.triton.launcher import Launcher

_FORMATS = {"i64": "q", "i32": "i", "fp32": "f"}
_EMPTY = 16  # an address for tensors without elements, aligned and never read


class MachineCodeLauncher(Launcher):
    """Launches go to the executor.

    `done` lists what has run; `alter` makes of each kernel the one that runs.
    """

    def __init__(
        self, arch: int, *, alter: Callable[[Kernel], Kernel] = lambda kernel: kernel
    ) -> None:
        self.arch, self.alter = arch, alter
        self.done: list[Launched] = []

    def unavailable(self) -> None:
        return None

    def accepts(self, device: torch.device) -> bool:
        return True

    def architecture(self, device: torch.device) -> str:
        return f"sm_{self.arch}"

    def processors(self, device: torch.device) -> int:
        return 3  # so that persistent programs walk several tiles

    def numerics(self, like: torch.Tensor) -> dict[str, object]:
        return {"PRECISION": "ieee", "HARDWARE_TANH": like.dtype != torch.float32}

    def bind(self, kernel: Any, grid: tuple[int, ...]) -> Callable[..., object]:
        def launch(*args: Any, **options: Any) -> None:
            self.execute(kernel, grid, args, options)

        return launch

    def execute(self, kernel: Any, grid: tuple[int, ...], args: Any, options: Any) -> None:
        dtype = next(str(a.dtype).removeprefix("torch.") for a in args if torch.is_tensor(a))
        launch = triton_kernels.specialise("", dtype, kernel, args, options)
        made = triton_kernels.compile_launch(launch, self.arch)
        (name,) = machine_code.kernel_names(made.asm["cubin"])
        values = {**dict(zip(kernel.arg_names, args, strict=False)), **options}
        code = self.alter(machine_code.load(made.asm["cubin"], name))
        parameters = _parameters(launch.signature, values)
        parameters = parameters.ljust(code.parameter_bytes, b"\0")  # Triton's own, of no use here
        threads = (32 * launch.num_warps, 1, 1)
        blocks = (*grid, 1, 1)[:3]
        executed = executor.run(code, blocks, threads, made.metadata.shared, parameters)
        self.done.append(Launched(code, executed))


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
