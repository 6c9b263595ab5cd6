"""`python -m benchmarks triton-kernels`: what Triton's compiler makes of every kernel, with no GPU.

Each workload's forward and backward pass is run on tensors without data, with a launcher that
records the launches instead; they are compiled for each architecture. The table says, from the
binaries, what a kernel takes of a multiprocessor (registers, spills, shared memory, and the
occupancy that follows) and whether it uses the tensor-core instruction meant for that chip.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import triton
from rich.console import Console
from rich.table import Table
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from benchmarks.environment import environment, write_results
from benchmarks.operators.workloads import WORKLOADS, Workload, for_gpu
from wavenet_kernels.backends import triton as backend
from wavenet_kernels.backends.triton.launcher import Launcher, use_launcher
from wavenet_kernels.call import Call, Settings, Tensors

# Of a multiprocessor, by compute capability: bytes of shared memory that a block may have, that all
# have together, and threads (CUDA C++ Programming Guide, table of compute capabilities). Each has
# 65,536 registers.
CHIPS = {
    80: (163, 164, 2048),
    86: (99, 100, 1536),
    89: (99, 100, 1536),
    90: (227, 228, 2048),
    100: (227, 228, 2048),
    120: (99, 100, 1536),
}
TENSOR_CORES = {90: "wgmma.mma_async", 100: "tcgen05.mma"}  # elsewhere mma.sync
TYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
DTYPES = (*TYPES, "tf32")  # float32 with products that may be rounded


@dataclass(frozen=True)
class Launch:
    """A kernel as one launch specialises it."""

    workload: str
    dtype: str
    kernel: JITFunction[Any]
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: tuple[str, ...]  # arguments that are multiples of 16
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class Binary:
    """What a compiled kernel takes."""

    launch: Launch
    arch: int
    registers: int  # a thread
    spilled: int  # bytes a thread
    shared: int  # bytes a block
    tensor_cores: bool
    products: bool  # whether it multiplies matrices at all

    @property
    def occupancy(self) -> float:
        """Threads that a multiprocessor can hold at once, of those it has room for."""
        _, shared, threads = CHIPS[self.arch]
        block = 32 * self.launch.num_warps
        blocks = min(
            65536 // (self.registers * block),
            (shared * 1024) // (self.shared + 1024),
            threads // block,
        )
        return blocks * block / threads


class Recorder(Launcher):
    """Keeps the distinct launches, which nothing runs, as for a chip of that architecture."""

    def __init__(self, workload: str, dtype: str, arch: int) -> None:
        self.workload, self.dtype, self.arch = workload, dtype, arch
        self.launches: dict[Launch, None] = {}

    def accepts(self, device: torch.device) -> bool:
        return True

    def architecture(self, device: torch.device) -> str:
        return f"sm_{self.arch}"

    def processors(self, device: torch.device) -> int:
        return 132  # of an H100 or H200

    def numerics(self, like: torch.Tensor) -> dict[str, object]:
        precision = "tf32" if self.dtype == "tf32" else "ieee"
        return {"PRECISION": precision, "HARDWARE_TANH": like.dtype != torch.float32}

    def bind(self, kernel: Any, grid: tuple[int, ...]) -> Callable[..., object]:
        def record(*args: Any, **options: Any) -> None:
            self.launches[specialise(self.workload, self.dtype, kernel, args, options)] = None

        return record


def launches(workload: Workload, dtype: str, arch: int, every_call: bool = True) -> list[Launch]:
    """The distinct launches of the workload's forward and backward pass on that architecture.

    `every_call`: also with conditioning, as a stream, without the last residual, without biases,
    and of the other operators.
    """
    recorder = Recorder(workload.name, dtype, arch)
    of = torch.float32 if dtype == "tf32" else getattr(torch, dtype)
    meta = [t.to("meta", of) for t in workload.tensors("cpu", torch.float32)]
    with use_launcher(recorder):
        for call in _calls(workload, *meta, every_call=every_call):
            _compute(call)
    return list(recorder.launches)


def _calls(
    workload: Workload,
    x: torch.Tensor,
    conv_weight: torch.Tensor,
    conv_bias: torch.Tensor,
    out_weight: torch.Tensor,
    out_bias: torch.Tensor,
    *,
    every_call: bool,
) -> Iterator[Call]:
    """The workload's stack; with `every_call` the other operators on its channels too."""
    tensors = Tensors(x, conv_weight, conv_bias, out_weight, out_bias)
    settings = Settings(workload.dilations, workload.padding)
    yield Call("residual_stack", tensors, settings)
    if not every_call:
        return
    layers, gated, _, _ = conv_weight.shape
    cond = x.new_empty(x.shape[0], x.shape[2], layers * gated).transpose(1, 2)
    for last_residual in (True, False):
        conditioned = replace(tensors, cond=cond)
        yield Call("residual_stack", conditioned, replace(settings, last_residual=last_residual))
    yield Call("residual_stack", replace(tensors, conv_bias=None, out_bias=None), settings)
    yield Call("residual_stack_stream", tensors, replace(settings, padding="causal"))
    one = Tensors(x, conv_weight[:1], conv_bias[:1])
    yield Call("gated_conv1d", one, replace(settings, dilations=(1,)))
    yield Call("dilated_conv1d", one, replace(settings, dilations=(1,)))
    yield Call("gated_activation", Tensors(cond[:, :gated]), Settings())


def _compute(call: Call) -> None:
    """Forward, and backward with every gradient."""
    if call.operator == "residual_stack_stream":
        backend.stream(call).step(call.tensors.x, None)
        return
    outputs = call.empty_outputs(saving=True)
    backend.forward(call, outputs.present())
    backend.backward(call, outputs.present(), call.empty_gradients([True] * 6))


def compile_launch(launch: Launch, arch: int) -> Any:
    """What Triton's compiler makes of it."""
    names = launch.kernel.arg_names
    attrs = {(names.index(name),): [["tt.divisibility", 16]] for name in launch.aligned}
    source = ASTSource(launch.kernel, dict(launch.signature), dict(launch.constants), attrs)
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def measure(launch: Launch, arch: int) -> Binary:
    """Compile it, and read what it takes from the binary."""
    made = compile_launch(launch, arch)
    used = resources(made.asm["cubin"])
    ptx = made.asm["ptx"]
    return Binary(
        launch,
        arch,
        used["REG"],
        used["STACK"] + used["LOCAL"],
        max(used["SHARED"], made.metadata.shared),
        _tensor_cores(arch) in ptx,
        "tt.dot" in made.asm["ttir"],
    )


def record(binary: Binary) -> dict[str, Any]:
    """The same as data."""
    of = binary.launch
    return {
        "workload": of.workload,
        "kernel": of.kernel.__name__,
        "dtype": of.dtype,
        "arch": binary.arch,
        "blocks": {k: v for k, v in of.constants if k.startswith("BLOCK")},
        "num_warps": of.num_warps,
        "num_stages": of.num_stages,
        "registers": binary.registers,
        "spilled": binary.spilled,
        "shared": binary.shared,
        "shared_limit": CHIPS[binary.arch][0] * 1024,
        "occupancy": binary.occupancy,
        "products": binary.products,
        "tensor_cores": binary.tensor_cores,
    }


def table(binaries: Sequence[Binary]) -> Table:
    """One line for each."""
    out = Table("workload", "kernel", "dtype", "chip", "blocks")
    for heading in ("warps", "stages", "registers", "spilled, B", "shared, KiB", "occupancy"):
        out.add_column(heading, justify="right")
    out.add_column("tensor cores")
    for row in map(record, binaries):
        out.add_row(
            row["workload"],
            row["kernel"],
            row["dtype"],
            f"sm_{row['arch']}",
            " ".join(f"{name[6:]}{size}" for name, size in row["blocks"].items()),
            *(str(row[name]) for name in ("num_warps", "num_stages", "registers", "spilled")),
            f"{row['shared'] / 1024:.0f}",
            f"{row['occupancy']:.0%}",
            _tensor_cores(row["arch"]) if row["tensor_cores"] else "no",
        )
    return out


def specialise(
    workload: str, dtype: str, kernel: JITFunction[Any], args: tuple[Any, ...], options: Any
) -> Launch:
    """What Triton would compile for a launch with these arguments."""
    values = {**dict(zip(kernel.arg_names, args, strict=False)), **options}
    signature, constants, aligned = {}, {}, []
    for parameter in kernel.params:
        name, value = parameter.name, values[parameter.name]
        if parameter.is_constexpr:
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + TYPES[str(value.dtype).removeprefix("torch.")]
            aligned.append(name)
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if abs(value) < 2**31 else "i64"
            if value % 16 == 0 and not parameter.do_not_specialize:
                aligned.append(name)
    return Launch(
        workload,
        dtype,
        kernel,
        tuple(signature.items()),
        tuple(constants.items()),
        tuple(aligned),
        options.get("num_warps", 4),
        options.get("num_stages", 3),
    )


def _tensor_cores(arch: int) -> str:
    return TENSOR_CORES.get(arch, "mma.sync")


def resources(cubin: bytes) -> dict[str, int]:
    """What a kernel takes: REG, STACK, SHARED and LOCAL, as cuobjdump says."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(n) for name, n in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, compile, print."""
    names = [workload.name for workload in WORKLOADS if workload.batch == 1]
    parser = argparse.ArgumentParser(prog="python -m benchmarks triton-kernels")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--arch", nargs="+", type=int, choices=tuple(CHIPS), default=(80, 90, 100))
    parser.add_argument("--kernels", nargs="+", help="only those with such a word in their name")
    parser.add_argument("--stack-alone", action="store_true", help="none of the other calls")
    parser.add_argument("--json", action="store_true", help="JSON to stdout instead of a table")
    parser.add_argument("--out", type=Path, help="JSON file as well, with versions and commit")
    options = parser.parse_args(arguments)
    binaries = []
    for workload in WORKLOADS:
        if workload.name not in options.workloads:
            continue
        for dtype in options.dtypes:
            for arch in options.arch:
                for found in launches(for_gpu(workload), dtype, arch, not options.stack_alone):
                    name = found.kernel.__name__
                    if not options.kernels or any(word in name for word in options.kernels):
                        binaries.append(measure(found, arch))
    rows = [record(binary) for binary in binaries]
    if options.out:
        write_results(options.out, {**environment(), "rows": rows})
    if options.json:
        print(json.dumps(rows))
    else:
        Console(width=180).print(table(binaries))
