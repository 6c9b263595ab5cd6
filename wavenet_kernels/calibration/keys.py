"""What a decision holds for: a kind of call, on a device, with a build.

A `Kind` is all of a call that its speed and its errors depend on, without its data, and makes
seeded calls of that kind again, of any size. A `Key` is the kind with the facts of device and
build, as JSON and as a hash.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import wavenet_kernels
from wavenet_kernels import backends
from wavenet_kernels.call import TENSORS, Call, Settings, Tensors

SCHEMA = 1  # raise it when an entry means something else than it did

Json = dict[str, Any]
Shape = tuple[int | str, ...]

_LARGE = 1 << 23  # elements, that would take long to make on a CPU and to copy
_ACTIVATIONS = ("x", "cond")  # whose first size is B and whose last is T, or 1
_OURS = ("WAVENET_KERNELS_CALIBRATE", "WAVENET_KERNELS_CACHE", "WAVENET_KERNELS_BACKEND")


@dataclass(frozen=True)
class Kind:
    """A call without its data and exact size.

    `shapes` are those of the tensors that there are, "B" and "T" for what differs from call to
    call; `bucket` is log2 of B*T, rounded up. `step`: forward and backward, not forward alone.
    """

    operator: str
    step: bool
    shapes: Mapping[str, Shape]
    settings: Mapping[str, Any]
    dtype: str
    precision: str
    bucket: int

    @classmethod
    def of(cls, call: Call, *, step: bool) -> Kind:
        """The kind of a call as backends see it."""
        tensors = {name: getattr(call.tensors, name) for name in TENSORS}
        settings = asdict(call.settings)
        settings["dilations"] = list(settings["dilations"])
        batch, _, time = call.tensors.x.shape
        dtype = call.tensors.x.dtype
        return cls(
            operator=call.operator,
            step=step,
            shapes={n: _pattern(n, t) for n, t in tensors.items() if t is not None},
            settings=settings,
            dtype=str(dtype).removeprefix("torch."),
            precision=precision(dtype),
            bucket=(batch * time - 1).bit_length(),
        )

    @classmethod
    def from_json(cls, content: Json) -> Kind:
        """What `as_json` gave."""
        shapes = {name: tuple(shape) for name, shape in content["shapes"].items()}
        return cls(**{**content, "shapes": shapes})

    def as_json(self) -> Json:
        """Of what JSON has."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {**self.__dict__, "shapes": shapes, "settings": dict(self.settings)}

    def call(self, batch: int, time: int, device: torch.device) -> Call:
        """A call of this kind: seeded tensors, while they are small the same on every device."""
        dtype = getattr(torch, self.dtype)
        generator = torch.Generator().manual_seed(1)
        made: dict[str, Tensor] = {}
        for name, shape in self.shapes.items():
            sizes = [int({"B": batch, "T": time}.get(str(size), size)) for size in shape]
            if math.prod(sizes) > _LARGE:
                its = torch.Generator(device).manual_seed(1)
                values = torch.randn(sizes, generator=its, device=device, dtype=dtype)
            else:
                values = torch.randn(sizes, generator=generator, device="cpu", dtype=torch.float32)
            made[name] = values.mul_(_scale(name, sizes)).to(device, dtype)
        settings = Settings(**{**self.settings, "dilations": tuple(self.settings["dilations"])})
        return Call(self.operator, Tensors(**made), settings).within_time()

    def describe(self) -> str:
        """For people: "residual_stack step, R=64 D=64 S=128 K=2 L=30 float32, B*T to 2^15"."""
        x, conv, out = (self.shapes.get(name) for name in ("x", "conv_weight", "out_weight"))
        assert x is not None
        sizes: dict[str, Any] = {"2D": x[1]} if conv is None else {"R": x[1]}
        if conv is not None and self.operator == "dilated_conv1d":
            sizes |= {"C": conv[1], "K": conv[3]}
        elif conv is not None:
            sizes |= {"D": int(conv[1]) // 2, "K": conv[3], "L": conv[0]}
        if out is not None:
            sizes["S"] = int(out[1]) - int(x[1])
        what = "step" if self.step else "inference"
        shown = " ".join(f"{symbol}={size}" for symbol, size in sizes.items())
        return f"{self.operator} {what}, {shown} {self.dtype}, B*T to 2^{self.bucket}"


@dataclass(frozen=True)
class Key:
    """A kind, the facts of the device, the facts of the build."""

    kind: Kind
    device: Json
    build: Json

    @classmethod
    def of(cls, kind: Kind, device: torch.device) -> Key:
        """For calls of the kind on the device, with what is installed here."""
        return cls(kind, facts_of(device), build(device))

    def as_json(self) -> Json:
        """Of what JSON has."""
        kind = self.kind.as_json()
        return {"schema": SCHEMA, "kind": kind, "device": self.device, "build": self.build}

    @functools.cached_property
    def hash(self) -> str:
        """Names the key in a file's name, in a run folder and between processes."""
        return digest(self.as_json())

    @functools.cached_property
    def family(self) -> str:
        """The same of all sizes: what a kernel is right for, it is right for at any length."""
        return replace_bucket(self, 0).hash


def replace_bucket(key: Key, bucket: int) -> Key:
    """The key of the same calls in another size."""
    return Key(replace(key.kind, bucket=bucket), key.device, key.build)


def digest(content: object) -> str:
    """16 hexadecimal digits of what JSON says of it."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def precision(dtype: torch.dtype) -> str:
    """How float32 products are to be computed; of no account in other dtypes."""
    return torch.get_float32_matmul_precision() if dtype == torch.float32 else ""


def is_gpu(device: torch.device) -> bool:
    """Whether kernels there can stop the whole process, so that a child tries them first."""
    return device.type != "cpu"


def facts_of(device: torch.device) -> Json:
    """What of a device a kernel's speed and errors depend on."""
    if device.type == "cuda":
        return _facts_of_cuda(device)
    if device.type == "cpu":
        return {
            "type": "cpu",
            "name": processor(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        }
    return {"type": device.type}


@functools.cache
def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def _facts_of_cuda(device: torch.device) -> Json:
    properties = torch.cuda.get_device_properties(device)
    driver = Path("/proc/driver/nvidia/version")
    return {
        "type": "cuda",
        "name": properties.name,
        "capability": [properties.major, properties.minor],
        "processors": properties.multi_processor_count,
        "shared memory": getattr(properties, "shared_memory_per_block_optin", None),
        "driver": driver.read_text(encoding="utf-8").splitlines()[0] if driver.exists() else "",
    }


def build(device: torch.device) -> Json:
    """The versions, the package's content, and the settings that backends for the device read."""
    named = os.environ.get("WAVENET_KERNELS_TRITON_TABLE", "")
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("WAVENET_KERNELS_") and name not in _OURS
    }
    if named:
        content = Path(named).read_bytes() if Path(named).is_file() else b""
        variables["WAVENET_KERNELS_TRITON_TABLE"] = hashlib.blake2b(content).hexdigest()[:16]
    return {**_installed(gpu=is_gpu(device)), "variables": variables}


@functools.cache
def _installed(*, gpu: bool) -> Json:
    """A CPU's kernels don't depend on what is for GPUs, which takes long to load and to read."""
    versions = {
        "package": wavenet_kernels.__version__,
        "content": _content(without="" if gpu else "_cuda."),
        "torch": torch.__version__,
    }
    if not gpu:
        return versions
    built_for = {name: backends.load(name).describe() for name in backends.available_backends()}
    built_for.pop("cpu", None)  # speaks of threads
    return {**versions, "triton": _version("triton"), "backends": built_for}


def _content(without: str) -> str:
    """A hash of every file of the package that computes."""
    folder = Path(wavenet_kernels.__file__).parent
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*")):
        if without and path.name.startswith(without):
            continue
        if path.suffix in (".py", ".json", ".so", ".pyd"):
            found.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pattern(name: str, tensor: Tensor) -> Shape:
    sizes = tuple(tensor.shape)
    if name not in _ACTIVATIONS:
        return sizes
    # A single time of conditioning serves all times; of x it is a time like any other.
    return ("B", sizes[1], 1 if name == "cond" and sizes[2] == 1 else "T")


def _scale(name: str, sizes: list[int]) -> float:
    """Sums of as many terms as a weight has come out near 1."""
    return 1 / math.sqrt(math.prod(sizes[2:])) if name.endswith("_weight") else 1.0
