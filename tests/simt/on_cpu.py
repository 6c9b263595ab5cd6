"""The cuda backend with its kernels in the simulator, on CPU tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

from wavenet_kernels.backends import cuda


@contextmanager
def simulated(module: ModuleType) -> Iterator[None]:
    """Calls of the cuda backend take CPU tensors and run in `module`, built by simt_build."""
    with (
        mock.patch.object(cuda, "_cuda", module, create=True),
        mock.patch.object(cuda, "_DEVICE", "cpu"),
        mock.patch.object(cuda, "_where", lambda x: {"device": 0, "stream": 0}),
        mock.patch.object(cuda, "unavailable", lambda: None),
        mock.patch.object(cuda, "_refusal", lambda index: ""),
    ):
        _forget_plans()
        yield
    _forget_plans()


def _forget_plans() -> None:
    cuda._plan.cache_clear()
    cuda._plan_refusal.cache_clear()
