"""No instance of a CUDA kernel spills, on any chip that the extension has code for."""

from __future__ import annotations

import re
import subprocess

import executor
import pytest
from cuda_machine_code import extension
from machine_code import nvidia_tool

_USED = re.compile(
    r"(?:arch = (?P<arch>\S+))|(?:Function (?P<name>\S+):)|"
    r"(?:REG:(?P<registers>\d+) STACK:(?P<stack>\d+) SHARED:\d+ LOCAL:(?P<local>\d+))"
)


def _spilling(listing: str) -> tuple[int, list[str]]:
    """How many kernels there are, and those that have memory of a thread's own."""
    arch = name = ""
    count, found = 0, []
    for match in _USED.finditer(listing):
        arch, name = match["arch"] or arch, match["name"] or name
        if match["registers"] is None:
            continue
        count += 1
        if int(match["stack"]) or int(match["local"]):
            found.append(f"{arch} {name}: {match[0]}")
    return count, found


@pytest.mark.skipif(executor.obstacle() is not None, reason=str(executor.obstacle()))
def test_nothing_spills():
    path = extension()
    if path is None:
        pytest.skip("wavenet_kernels is built without CUDA")
    command = [str(nvidia_tool("cuobjdump")), "--dump-resource-usage", str(path)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count, spilling = _spilling(listing)
    assert count > 50
    assert not spilling, "\n".join(spilling)


def test_a_spill_is_seen():
    listing = """arch = sm_90a
     Function a:
      REG:40 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:936 TEXTURE:0 SURFACE:0 SAMPLER:0
     Function b:
      REG:128 STACK:16 SHARED:1024 LOCAL:0 CONSTANT[0]:936 TEXTURE:0 SURFACE:0 SAMPLER:0
    """
    count, (found,) = _spilling(listing)
    assert count == 2 and found.startswith("sm_90a b: REG:128 STACK:16")
