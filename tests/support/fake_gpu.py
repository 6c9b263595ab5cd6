"""A machine whose CPU passes for a GPU, with fake backends, and times that a test dictates."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import pytest
import torch

from wavenet_kernels import backends
from wavenet_kernels.calibration import choice, keys, timing, trial

_in_children = trial.run
DEVICE = {"type": "cpu", "name": "Fake GPU", "capability": [9, 0]}


class FakeGpu:
    """Which backends there are, and how long each takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.milliseconds: dict[str, Callable[[], float]] = {}
        self.timed: list[str] = []  # labels, in the order in which they ran
        monkeypatch.setattr(keys, "is_gpu", lambda device: True)
        monkeypatch.setattr(keys, "facts_of", lambda device: DEVICE)
        monkeypatch.setattr(keys, "_content", lambda without: "content")
        monkeypatch.setattr(timing, "stopwatch", lambda device: self.stopwatch)
        monkeypatch.setattr(trial, "run", self._without_children)
        monkeypatch.setattr(choice, "free_bytes", lambda device: 1 << 40)
        monkeypatch.setattr(backends, "_AUTO", {"cpu": ("reference",)})
        keys._installed.cache_clear()

    def has(self, **milliseconds: float | Callable[[], float]) -> FakeGpu:
        """These backends, by the module of `fakes` that each is, beside "reference"."""
        real = backends.load.__wrapped__ if hasattr(backends.load, "__wrapped__") else backends.load

        def load(name: str):
            return real(name) if name == "reference" else importlib.import_module(f"fakes.{name}")

        load.__wrapped__ = real  # type: ignore[attr-defined]
        names = [name for name in milliseconds if name != "reference"]
        self._monkeypatch.setattr(backends, "load", load)
        self._monkeypatch.setattr(backends, "NAMES", ("reference", *names))
        self._monkeypatch.setattr(backends, "_CANDIDATES", {"cpu": tuple(names)})
        self.take(**milliseconds)
        return self

    def take(self, **milliseconds: float | Callable[[], float]) -> None:
        """From now on they take so long; a configuration as its backend, unless it has a label."""
        for label, time in milliseconds.items():
            self.milliseconds[label] = time if callable(time) else lambda time=time: time

    def with_children(self) -> FakeGpu:
        """First trials are made in processes of their own, which takes seconds."""
        self._monkeypatch.setattr(trial, "run", _in_children)
        for seconds in (choice.KIND_SECONDS, choice.PROCESS_SECONDS):  # of a busy machine
            self._monkeypatch.setitem(seconds, "gpu", 300.0)
        return self

    def _without_children(self, jobs, device, *, deadline):
        return [trial.judge(job, device) for job in jobs]

    def stopwatch(self, label: str, run: Callable[[], object]) -> float:
        """In place of a clock."""
        run()
        self.timed.append(label)
        named = self.milliseconds.get(label) or self.milliseconds[label.partition(" ")[0]]
        return 1e-3 * named()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """See `FakeGpu`; here and now may be measured."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield FakeGpu(monkeypatch)
    torch.use_deterministic_algorithms(before)
    keys._installed.cache_clear()
