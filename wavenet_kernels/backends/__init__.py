"""Who computes: the backends by name, the choice among them, and refusals that say why.

A backend is a module of this package with `NAME`, `unavailable()` (why it can't work on this
machine, or None), `describe()` (a line about it), and one function for each operator it has,
called with the registered operator's arguments. Such a function raises BackendUnavailableError,
before it computes anything, for a call that it can't serve. A backend is imported on first use.
"""

from __future__ import annotations

import os
from types import ModuleType, TracebackType
from typing import Any

from torch import Tensor

from wavenet_kernels.errors import BackendUnavailableError

NAMES = ("reference", "cpu", "triton", "cuda")

# What "auto" tries, best first, by device type. A GPU backend enters this table for an operator
# when a measurement on a device has put it ahead of eager PyTorch, which is "reference".
_AUTO = {"cpu": ("cpu", "reference")}
_AUTO_ELSEWHERE = ("reference",)

_current = os.environ.get("WAVENET_KERNELS_BACKEND") or "auto"


def current_backend() -> str:
    """The name in force: "auto" or one of `NAMES`."""
    return _current


class use_backend:  # noqa: N801 - reads as a function, like torch.no_grad
    """Choose who computes: "auto" or one of "reference", "cpu", "triton", "cuda".

    As a call it holds from then on for the whole process, all threads included; as a context
    manager until the end of the block, which must not overlap with another thread's. A named
    backend that can't serve a call raises BackendUnavailableError; only "auto" looks further. An
    operator's backward runs on the backend that its forward was called with.

    Example::

        with wavenet_kernels.use_backend("reference"):
            z = wavenet_kernels.gated_activation(a)

    Raises:
        ValueError: the name is none of these.
    """

    def __init__(self, name: str) -> None:
        global _current
        _known(name, "use_backend")
        self._name, self._before = name, _current
        _current = name

    def __enter__(self) -> None:
        global _current
        _current = self._name

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _current
        _current = self._before


def available_backends() -> tuple[str, ...]:
    """The names of the backends that work on this machine.

    `python -m wavenet_kernels` also says why the others don't.
    """
    return tuple(name for name in NAMES if load(name).unavailable() is None)


def load(name: str) -> ModuleType:
    """The backend's module, imported on first use."""
    try:
        _known(name, "WAVENET_KERNELS_BACKEND")
    except ValueError as error:
        raise BackendUnavailableError(str(error)) from None
    # Programs that freeze applications follow import statements, and no name that is computed.
    match name:
        case "reference":
            from wavenet_kernels.backends import reference

            return reference
        case "cpu":
            from wavenet_kernels.backends import cpu

            return cpu
        case "triton":
            from wavenet_kernels.backends import triton

            return triton
        case "cuda":
            from wavenet_kernels.backends import cuda

            return cuda
    raise BackendUnavailableError(f"{name!r} is a choice among backends and none itself")


def require(name: str, operator: str) -> None:
    """Raise BackendUnavailableError if the backend is named and does not have the operator."""
    if name != "auto":
        _implementation(name, operator)


def run(operator: str, name: str, *args: Any) -> Any:
    """Compute the operator on the named backend, or on the first of "auto" that serves the call.

    args are the operator's own; the first is a tensor, on the device of all of them.
    """
    if name != "auto":
        return _implementation(name, operator)(*args)
    first: Tensor = args[0]
    refusals = []
    for candidate in _AUTO.get(first.device.type, _AUTO_ELSEWHERE):
        try:
            return _implementation(candidate, operator)(*args)
        except BackendUnavailableError as refusal:
            refusals.append(str(refusal))
    raise BackendUnavailableError(f"no backend serves this call of {operator}: {refusals}")


def _implementation(name: str, operator: str) -> Any:
    module = load(name)
    reason = module.unavailable()
    if reason is not None:
        raise BackendUnavailableError(f"the {name} backend does not work here: {reason}")
    function = getattr(module, operator, None)
    if function is None:
        what = operator.removesuffix("_backward")
        lacks = f"no {what}" if what == operator else f"no backward of {what}"
        raise BackendUnavailableError(
            f'the {name} backend has {lacks}; use_backend("auto") finds a backend that has'
        )
    return function


def _known(name: str, argument: str) -> None:
    if name != "auto" and name not in NAMES:
        raise ValueError(f'{argument}: {name!r} is not a backend; accepted are "auto", {NAMES}')
