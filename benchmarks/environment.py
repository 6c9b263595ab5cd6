"""What a result must say about where it comes from."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from wavenet.files import replace_file

RESULTS = Path(__file__).resolve().parent / "results"
# What holds processors' instructions back, in ours and in what PyTorch multiplies by.
LIMITS = (
    "WAVENET_KERNELS_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
)
# Where measurements go that nobody has asked to be committed.
BUILD = RESULTS.parents[1] / "build" / "bench"


def environment(device: str = "cpu") -> dict[str, Any]:
    """The machine and its clocks, the versions, the date, the commit ("-dirty": files differ)."""
    packages = (
        "numpy",
        "onnxruntime",
        "scikit-learn",
        "soundfile",
        "torch",
        "triton",
        "wavenet-kernels",
    )
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu_model(),
        "cpu": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "limits": {name: value for name in LIMITS if (value := os.environ.get(name))},
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in packages if (version := _version(name))},
        "clocks": clocks(device),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def write_results(out: Path, content: dict[str, Any]) -> None:
    """Write what was measured, and say where."""
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, json.dumps(content, indent=1) + "\n")
    print(f"wrote {out}")


def read_results(path: Path) -> dict[str, Any]:
    """What `write_results` wrote; "benchmark" is its kind, by its name in files of old.

    Raises:
        ValueError: it is no such file.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "rows" not in content:
        raise ValueError(f"{path}: not a result with rows")
    return {"benchmark": path.stem.partition("-")[0], **content}


def machine(device: str) -> str:
    """For a file's name: "cpu-avx2", "nvidia-h200"."""
    if device == "cuda":
        return torch.cuda.get_device_name().lower().replace(" ", "-")
    return f"cpu-{torch.backends.cpu.get_cpu_capability().lower()}"


def clocks(device: str) -> dict[str, str]:
    """What the device says of its clocks at this moment; empty where it says nothing."""
    if device == "cuda":
        fields = "clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu,driver_version"
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return {}
        values = done.stdout.splitlines()[0].split(", ")
        return dict(zip(fields.split(","), values, strict=True))
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    rates = [line.partition(":")[2].strip() for line in lines if line.startswith("cpu MHz")]
    return {"cpu MHz": ", ".join(rates)} if rates else {}


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def processor() -> dict[str, str]:
    """Family, model and stepping, by which a processor's generation is known, and its caches.

    The name alone ("AMD EPYC") may say nothing. Empty where the system does not say.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    said = {name.strip(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    wanted = ("vendor_id", "cpu family", "model", "stepping", "cache size", "CPU part")
    return {name: said[name] for name in wanted if name in said}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """Results themselves, and the pages drawn of them, may differ from the commit."""
    git = ["git", "-C", str(RESULTS.parent.parent)]
    named = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    if named.returncode:
        return "unknown"
    elsewhere = ["--", ".", ":!benchmarks/results", ":!README.md"]
    same = subprocess.run([*git, "diff", "--quiet", "HEAD", *elsewhere], check=False)
    return named.stdout.strip() + ("-dirty" if same.returncode else "")
