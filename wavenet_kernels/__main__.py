"""`python -m wavenet_kernels`: versions, devices, which backends work here, or why not, and what
"auto" knows of this device; and what is slow or missing, and how to mend it. `python -m
wavenet_kernels calibrate` makes it know more.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Sequence

import torch

import wavenet_kernels
from wavenet_kernels import backends, calibration, doctor
from wavenet_kernels.calibration import program, store


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main(arguments: Sequence[str]) -> None:
    """Print it, or do what the command says."""
    if arguments:
        command, *rest = arguments
        if command != "calibrate":
            raise SystemExit(f"python -m wavenet_kernels: {command!r}; accepted is calibrate")
        program.main(rest)
        return
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = calibration.decisions()
    print(f"calibration     {calibration.mode(device)}, {len(made)} decisions in {store.folder()}")
    for decision in made:
        print(f"  {decision.describe()}")
    for finding in doctor.findings():
        if finding.remedy:
            print(f"{finding.state:<15} {finding.what}: {finding.detail}")
            print(f"  to mend it    {finding.remedy}")


if __name__ == "__main__":
    main(sys.argv[1:])
