"""Who computes: the backends by name, the choice among them, and refusals that say why.

A backend is a module of this package that is what `contract.Backend` describes, imported on first
use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wavenet_kernels.call import SETTINGS
from wavenet_kernels.errors import BackendUnavailableError

if TYPE_CHECKING:
    from torch import Tensor

    from wavenet_kernels.backends.contract import Again, Backend, Configuration, Stream
    from wavenet_kernels.call import Call, Gradients, Outputs

Choice: TypeAlias = Literal["auto", "reference", "cpu", "triton", "cuda"]
NAMES = ("reference", "cpu", "triton", "cuda")

# What "auto" takes where nothing was measured on the device, best first, by device type; and what
# it may take after a measurement, in the order that decides ties: elsewhere, every backend.
_AUTO = {"cpu": ("cpu", "reference")}
_AUTO_ELSEWHERE = ("reference",)
_CANDIDATES = {"cpu": ("cpu", "reference")}

_current = os.environ.get("WAVENET_KERNELS_BACKEND") or "auto"

# Who wants to be around what backends compute, as benchmarks that take times do: called with the
# call and "forward" or "backward".
Watcher: TypeAlias = "Callable[[Call, str], AbstractContextManager[object]]"
watchers: list[Watcher] = []


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

    def __init__(self, name: Choice) -> None:
        global _current
        _check_name(name, "use_backend")
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


def load(name: str) -> Backend:
    """The backend, imported on first use."""
    try:
        _check_name(name, "WAVENET_KERNELS_BACKEND")
    except ValueError as error:
        raise BackendUnavailableError(str(error)) from None
    # Programs that freeze applications follow import statements, and no name that is computed.
    match name:
        case "reference":
            from wavenet_kernels.backends import eager

            return eager
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


def choose(call: Call, name: str) -> Backend:
    """The named backend, or the one that serves a call where nothing was measured.

    Raises:
        BackendUnavailableError: it doesn't, or none does: why not, and what would.
    """
    if name == "auto":
        return load(first(call))
    backend = load(name)
    if reason := backend.unavailable():
        raise BackendUnavailableError(f"the {name} backend does not work here: {reason}")
    if reason := _refusal(backend, call):
        raise BackendUnavailableError(f"the {name} backend {reason}")
    return backend


def first(call: Call) -> str:
    """The name of the backend that "auto" takes where nothing was measured.

    Raises:
        BackendUnavailableError: none serves the call.
    """
    refusals = []
    for name in _AUTO.get(call.tensors.x.device.type, _AUTO_ELSEWHERE):
        reason = refusal(name, call)
        if reason is None:
            return name
        refusals.append(f"{name} {reason}")
    raise BackendUnavailableError(f"no backend serves this call of {call.operator}: {refusals}")


def candidates(call: Call) -> list[str]:
    """The names of all that "auto" may take, if they prove right and fast: `first`, then others."""
    names = [first(call)]
    for name in _CANDIDATES.get(call.tensors.x.device.type, reversed(NAMES)):
        if name not in names and refusal(name, call) is None:
            names.append(name)
    return names


class Configured:
    """A backend that computes in a certain way (`contract.Configurable`)."""

    def __init__(self, name: str, configuration: Configuration) -> None:
        self._backend: Any = load(name)
        self._configuration = configuration
        self.SETTINGS: frozenset[str] = self._backend.SETTINGS

    def unavailable(self) -> str | None:
        """As the backend's."""
        reason: str | None = self._backend.unavailable()
        return reason

    def describe(self) -> str:
        """As the backend's, and the configuration."""
        return f"{self._backend.describe()}, {dict(self._configuration)}"

    def supports(self, call: Call) -> str | None:
        """As the backend's."""
        reason: str | None = self._backend.supports(call)
        return reason

    def forward(self, call: Call, outputs: Outputs) -> Again | None:
        """As the backend's."""
        with self._backend.configured(self._configuration):
            return self._also(self._backend.forward(call, outputs))

    def backward(self, call: Call, gradients: Outputs, outputs: Gradients) -> Again | None:
        """As the backend's."""
        with self._backend.configured(self._configuration):
            return self._also(self._backend.backward(call, gradients, outputs))

    def stream(self, call: Call) -> Stream:
        """As the backend's."""
        with self._backend.configured(self._configuration):
            stream: Stream = self._backend.stream(call)
        return stream

    def _also(self, again: Again | None) -> Again | None:
        """More such calls are computed in that way, too."""
        if again is None:
            return None

        def configured(given: Sequence[Tensor | None], made: Sequence[Tensor | None]) -> None:
            with self._backend.configured(self._configuration):
                again(given, made)

        return configured


def refusal(name: str, call: Call) -> str | None:
    """Why the backend can't serve the call here, or None."""
    backend = load(name)
    return backend.unavailable() or _refusal(backend, call)


def _refusal(backend: Backend, call: Call) -> str | None:
    for name in SETTINGS - backend.SETTINGS:
        if not call.settings.is_default(name):
            return f"does not have {name}"
    return backend.supports(call)


def _check_name(name: str, argument: str) -> None:
    if name != "auto" and name not in NAMES:
        raise ValueError(f'{argument}: {name!r} is not a backend; accepted are "auto", {NAMES}')
