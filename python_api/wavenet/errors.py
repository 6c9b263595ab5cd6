"""The errors that are about what a person gave or has: their message is a sentence for that person.

It names the file or the argument, what came, and what is accepted. The command line prints it;
every other error is a fault of ours and comes with a traceback.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # torch takes seconds, and is loaded where there is a tensor
    from torch import Tensor

T = TypeVar("T")


class UserError(Exception):
    """What all of them are."""


class DataError(UserError, ValueError):
    """Something is wrong with the data or with an argument about it."""


class AudioError(DataError):
    """One recording can't be used. A training run skips such a clip and says so.

    `kind` is one of "missing", "unreadable", "empty", "silent" and "unknown label"; reports count
    by it. It has a default because DataLoader workers rebuild an exception from its message alone.
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


class ModelError(UserError, ValueError):
    """A saved model that can't be loaded or exported."""


class ConfigError(UserError, ValueError):
    """A configuration that can't be used: the message names the field."""


class TrainingError(UserError, RuntimeError):
    """Training that can't go on: the message says why, and what to change."""


class CheckpointError(TrainingError):
    """A checkpoint that can't be written or used: the message says which and why."""


class TrainingInterrupted(KeyboardInterrupt):
    """Training was asked to stop, and has left a checkpoint to go on from.

    `signal` is the number of the signal that asked for it.
    """

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal = signal


class MissingPackageError(UserError, ImportError):
    """A package that only a part of wavenet needs is not installed."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of the packages of an extra: one that is missing is named, and its extra.

    Raises:
        MissingPackageError: instead of ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "torch", "numpy", "wavenet", "wavenet_kernels"):
            raise
        raise MissingPackageError(
            f"this part of wavenet needs {package}: pip install 'wavenet-kernels[{name}]'",
            name=package,
        ) from None


DAY = 86_400


def require_seconds(**times: float) -> None:
    """Raise DataError for a time, named by its keyword, that is not above 0 and up to a day."""
    for name, value in times.items():
        if not 0 < value <= DAY:
            raise DataError(f"{name} is {value}; accepted is more than 0, up to {DAY} (a day)")


def is_whole(value: object, least: int) -> bool:
    """Whether a field holds an int, and no bool, from `least` on."""
    return type(value) is int and value >= least


def plain(value: Any) -> Any:
    """A number of NumPy or torch as Python's own; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value


def is_number(value: Any) -> bool:
    """Whether it is a finite int or float, of Python, NumPy or torch, and no bool."""
    value = plain(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def of_fields(kind: Callable[..., T], values: T | Mapping[str, Any], name: str) -> T:
    """A description from a mapping of its fields, as JSON and YAML have it; else what it is.

    Raises:
        ValueError: a field that there isn't, or that doesn't fit.
    """
    if not isinstance(values, Mapping):
        return values
    known = inspect.signature(kind).parameters
    if unknown := [field for field in values if field not in known]:
        raise ValueError(f"{name} has {unknown[0]!r}; accepted are {', '.join(known)}")
    return kind(**values)


def require_tensor(name: str, value: object, accepted: str) -> None:
    """Raise DataError for an argument, named, that is no tensor."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise DataError(f"{name} is a {type(value).__name__}; accepted is a tensor {accepted}")


def require_floats(name: str, tensor: Tensor) -> None:
    """Raise DataError for a tensor, named, of anything but finite floats."""
    if not tensor.is_floating_point():
        raise DataError(f"{name} is {tensor.dtype}; accepted are floats")
    require_finite(name, tensor)


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise DataError for a tensor, named, with infinities or NaN; unknown in a compiled graph."""
    import torch

    if not torch.compiler.is_compiling() and not torch.isfinite(tensor).all():
        raise DataError(f"{name} holds values that aren't finite numbers")


def require_field(condition: bool, config: object, name: str, accepted: str) -> None:
    """Raise ValueError about a field of a configuration, where the condition isn't met."""
    if not condition:
        raise ValueError(f"{name} is {getattr(config, name)!r}; accepted is {accepted}")
