"""Files of torch.save, of both formats, read without running what is in them.

A pickle is a program that may call anything that can be imported. Here nothing is imported for it:
the names that checkpoints use stand for functions and inert classes of this file, and any other
name stops the reading. A pickled module comes out as the attributes that it was saved with.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from wavenet.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# Of modules that are pickled whole; nothing of them is run, so that any class of theirs will do.
_MODULES = ("torch.nn.", "wavenet", "glow", "glow_old", "waveglow", "nv_wavenet")


class Inert:
    """What stands for an object of a class that isn't imported: attributes without behaviour."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> None:
        return None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({k: v for k, v in state.items() if isinstance(k, str)})


def read_torch_file(path: Path) -> Any:
    """What was saved, with tensors on the CPU.

    Raises:
        ModelError: there is no such file, it is damaged or of another kind, or it asks for
            something to be run.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with path.open("rb") as file:
            return _read_legacy(file, path.stat().st_size)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise ModelError(
            f"{path}: is damaged, or no file of torch.save ({type(error).__name__}: {error})"
        ) from None


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ModelError("is a zip file, but none of torch.save: it has no data.pkl")
        folder = pickles[0][: -len("data.pkl")]
        if f"{folder}constants.pkl" in archive.namelist():
            raise ModelError("holds a TorchScript program; accepted are state dictionaries")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ModelError("was saved on a big-endian machine")
        storages: dict[str, Tensor] = {}

        def storage(dtype: torch.dtype, key: str, _: int, __: Any) -> Tensor:
            if key not in storages:
                data = bytearray(archive.read(f"{folder}data/{key}"))
                empty = torch.empty(0, dtype=dtype)
                storages[key] = torch.frombuffer(data, dtype=dtype) if data else empty
            return storages[key]

        with archive.open(pickles[0]) as file:
            return _Reader(file, storage).load()


def _read_legacy(file: IO[bytes], size: int) -> Any:
    """Magic number, version, system, object, storage keys: a pickle each. Then the elements."""
    storages: dict[str, Tensor] = {}

    def storage(dtype: torch.dtype, key: str, count: int, view: Any) -> Tensor:
        if key not in storages:
            if not 0 <= count * dtype.itemsize <= size:
                raise ModelError("is damaged: a tensor is larger than the file")
            storages[key] = torch.zeros(count, dtype=dtype)
        if view is None:
            return storages[key]
        _, offset, length = view
        return storages[key][offset : offset + length]

    if _Reader(file, storage).load() != _MAGIC:
        raise ModelError("is no file of torch.save")
    if _Reader(file, storage).load() != _LEGACY_PROTOCOL:
        raise ModelError("is of a version of torch.save that isn't known")
    system = _Reader(file, storage).load()
    if not system.get("little_endian", True):
        raise ModelError("was saved on a big-endian machine")
    result = _Reader(file, storage).load()
    for key in _Reader(file, storage).load():
        (count,) = struct.unpack("<q", _exactly(file, 8))
        if key not in storages:
            raise ModelError("is damaged: it has elements of a tensor that isn't in it")
        to = storages[key]
        if count != to.numel():
            raise ModelError("is damaged: a tensor has another size than its elements")
        if count:
            data = bytearray(_exactly(file, count * to.element_size()))
            to.copy_(torch.frombuffer(data, dtype=to.dtype))
    return result


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ModelError("ends too soon; it was not copied whole")
    return data


class _Reader(pickle.Unpickler):
    """A pickle's opcodes, with nothing but this file's functions to call."""

    def __init__(self, file: IO[bytes], storage: Any) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if any(module == m or module.startswith(m.rstrip(".") + ".") for m in _MODULES):
            return Inert
        raise ModelError(
            f"asks for {module}.{name}, which no checkpoint needs; it was not run, and the file is "
            "not read"
        )

    def persistent_load(self, saved: Any) -> Any:
        kind, *rest = saved
        if kind == "module":  # a class, its file and source, beside the class's name
            return rest[0]
        if kind != "storage":
            raise ModelError(f"is damaged: it refers to a {kind!r}")
        dtype, key, _, count, *view = rest
        if not isinstance(dtype, torch.dtype):
            raise ModelError("is damaged: a tensor's type is none")
        return self._storage(dtype, str(key), int(count), view[0] if view else None)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    tensor = torch.as_strided(storage, tuple(size), tuple(stride), offset)
    if tensor.numel() > storage.numel():  # one element for many: a small file for any memory
        raise ModelError("is damaged: a tensor is larger than its elements")
    return tensor


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _nothing(*_: Any) -> None:
    return None


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _plain_dict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "dict"): _nothing,  # of a defaultdict
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): Inert,
    ("torch.nn.backends.thnn", "_get_thnn_function_backend"): _nothing,
    # Numbers of NumPy, such as a schedule's learning rate, in the optimizer's part.
    ("numpy", "dtype"): Inert,
    ("numpy", "ndarray"): Inert,
    ("numpy.core.multiarray", "_reconstruct"): Inert,
    ("numpy._core.multiarray", "_reconstruct"): Inert,
    ("numpy.core.multiarray", "scalar"): _nothing,
    ("numpy._core.multiarray", "scalar"): _nothing,
    ("_codecs", "encode"): _nothing,
}
