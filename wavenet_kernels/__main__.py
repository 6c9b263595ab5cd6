"""`python -m wavenet_kernels`: versions, devices, and which backends work here, or why not."""

from __future__ import annotations

import importlib.metadata
import platform

import torch

import wavenet_kernels
from wavenet_kernels import backends


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Print it."""
    print(f"wavenet-kernels {wavenet_kernels.__version__}")
    print(f"python          {platform.python_version()} on {platform.platform()}")
    print(f"torch           {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"triton          {_version('triton')}")
    print(f"cuda            {torch.version.cuda or 'torch is built without it'}")
    for index in range(torch.cuda.device_count()):
        print(f"device cuda:{index}   {torch.cuda.get_device_name(index)}")
    print(f"backend         {backends.current_backend()}")
    for name in backends.NAMES:
        module = backends.load(name)
        reason = module.unavailable()
        state = f"works: {module.describe()}" if reason is None else f"no: {reason}"
        print(f"  {name:<13} {state}")


if __name__ == "__main__":
    main()
