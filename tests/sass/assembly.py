"""Small kernels written in PTX, compiled by the ptxas that comes with Triton."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import machine_code


def assemble(
    bodies: dict[str, str], arch: str, parameters: int = 2
) -> dict[str, machine_code.Kernel]:
    """Kernels of so many 64-bit parameters p0, p1 ...; `memory` is their shared memory."""
    listed = ", ".join(f".param .u64 p{i}" for i in range(parameters))
    entries = "\n".join(
        f".visible .entry {name}({listed}) {{ {body} }}" for name, body in bodies.items()
    )
    ptx = f"""
        .version 8.0
        .target {arch}
        .address_size 64
        .extern .shared .align 128 .b8 memory[];
        {entries}
    """
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "k.ptx"), Path(folder, "k.cubin")
        source.write_text(ptx)
        ptxas = str(machine_code.nvidia_tool("ptxas"))
        command = [ptxas, "-arch", arch, str(source), "-o", str(cubin)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return machine_code.load_all(cubin.read_bytes())
