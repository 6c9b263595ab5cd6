"""From a kind of call to a decision: candidates, verdicts, times, and what they come to."""

from __future__ import annotations

import datetime
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from wavenet_kernels import backends
from wavenet_kernels.backends.contract import Backend
from wavenet_kernels.calibration import keys, store, timing, trial, verify
from wavenet_kernels.calibration.keys import Json, Key, Kind
from wavenet_kernels.call import Call

MEASURED, SHIPPED = "measured", "shipped"


@dataclass(frozen=True)
class Candidate:
    """A backend, by its name, and the configuration that it computes in; None: its own."""

    backend: str
    configuration: Json | None = None

    @property
    def label(self) -> str:
        """For people, and unique among a call's candidates."""
        if self.configuration is None:
            return self.backend
        return f"{self.backend} {json.dumps(self.configuration, sort_keys=True)}"

    def loaded(self) -> Backend:
        """What computes."""
        if self.configuration is None:
            return backends.load(self.backend)
        return backends.Configured(self.backend, self.configuration)


@dataclass(frozen=True)
class Decision:
    """Who computes a kind of call, and why.

    Attributes:
        key: what it holds for.
        candidate: who computes.
        source: "measured" on this device, or "shipped": the rule where nothing was measured.
        why: a sentence.
        figures: milliseconds of every candidate that was timed, by label.
        refused: why candidates were not, by label.
    """

    key: Key
    candidate: Candidate
    source: str
    why: str
    figures: Json = field(default_factory=dict)
    refused: Json = field(default_factory=dict)
    sizes: tuple[int, int] = (0, 0)
    date: str = ""

    @property
    def hash(self) -> str:
        """Of the key."""
        return self.key.hash

    def as_entry(self) -> Json:
        """As it is stored and recorded."""
        content = {name: value for name, value in asdict(self).items() if name != "key"}
        return store.entry_of(self.key.as_json(), {**content, "sizes": list(self.sizes)})

    @classmethod
    def from_entry(cls, entry: Json) -> Decision:
        """What `as_entry` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            key, content = entry["key"], dict(entry["content"])
            candidate = Candidate(**content.pop("candidate"))
            if candidate.backend not in backends.NAMES:
                raise ValueError(f"there is no backend {candidate.backend!r}")
            sizes = tuple(content.pop("sizes"))
            made = Key(Kind.from_json(key["kind"]), key["device"], key["build"])
            return cls(made, candidate, sizes=(sizes[0], sizes[1]), **content)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"not a decision: {error!r}") from None

    def describe(self) -> str:
        """A line for people."""
        return f"{self.hash}  {self.key.kind.describe()}: {self.candidate.label} ({self.why})"


def remembered(key: Key) -> Decision | None:
    """The decision of that key in the store, if there is one."""
    entry = store.read(store.DECISIONS, key.as_json())
    try:
        return None if entry is None else Decision.from_entry(entry)
    except ValueError:
        return None


def by_rule(key: Key, call: Call, why: str, refused: Json | None = None) -> Decision:
    """What the shipped rule says; not remembered."""
    return Decision(key, Candidate(backends.first(call)), SHIPPED, why, refused=refused or {})


def candidates(call: Call) -> list[Candidate]:
    """Who might compute the call; first who does by the rule, then in the order of ties."""
    found = []
    for name in backends.candidates(call):
        found.append(Candidate(name))
        if hasattr(backend := backends.load(name), "configurations"):
            found += [Candidate(name, dict(way)) for way in backend.configurations(call)]
    return found


def decide(
    call: Call,
    *,
    step: bool,
    seconds: float = float("inf"),
    stopwatch: timing.Stopwatch | None = None,
    rounds: int = timing.ROUNDS,
) -> Decision:
    """The remembered decision, or one that is made now: verify, then time.

    Args:
        call: as a backend is given it; its data are not looked at.
        step: forward and backward, not forward alone.
        seconds: what would take longer is left to the shipped rule.
        stopwatch: takes the times; None: that of the call's device.
        rounds: how often each candidate is timed, at least.
    """
    device = call.tensors.x.device
    key = Key.of(Kind.of(call, step=step), device)
    if found := remembered(key):
        return found
    every = candidates(call)
    if len(every) == 1:
        return by_rule(key, call, "no other backend serves it")
    deadline = time.monotonic() + seconds
    stopwatch = stopwatch or timing.stopwatch(device)
    with verify.undisturbed(), torch.no_grad():
        batch, _, time_ = call.tensors.x.shape
        same = key.kind.call(batch, time_, device)
        first = every[0].loaded()
        alone = timing.run_of(first, same, step=step)
        for _ in range(timing.WARM_UP):
            once = stopwatch(every[0].label, alone)
        if time.monotonic() + once * len(every) * (rounds + timing.WARM_UP) > deadline:
            return by_rule(key, call, f"to time {len(every)} candidates would take too long")
        judged = verdicts(key, every, device, (batch, time_), deadline)
        if judged is None:
            return by_rule(key, call, "there was no time to verify every backend")
        refused = {every[i].label: wrong for i, wrong in enumerate(judged) if wrong}
        right = [candidate for candidate in every if candidate.label not in refused]
        runs = {}
        for candidate in right:
            if wrong := verify.wrong_at(candidate.loaded(), same, step=step):
                refused[candidate.label] = wrong
            else:
                runs[candidate.label] = timing.run_of(candidate.loaded(), same, step=step)
        samples = timing.interleave(runs, stopwatch, rounds)
    best = timing.winner(samples)
    figures = {label: timing.figures(seconds) for label, seconds in samples.items()}
    decision = Decision(
        key,
        next(candidate for candidate in right if candidate.label == best),
        MEASURED,
        _why(best, figures, refused),
        figures,
        refused,
        (batch, time_),
        datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    store.write(store.DECISIONS, decision.as_entry())
    return decision


def verdicts(
    key: Key,
    every: Sequence[Candidate],
    device: torch.device,
    sizes: tuple[int, int],
    deadline: float = float("inf"),
) -> list[str] | None:
    """What each candidate gets wrong, "" if nothing; None where there is no time to find out.

    "reference" is what the others are judged by. The verdicts of a family hold for all sizes.
    Backends come first and their configurations later: of those there may be no time for all.
    """
    judged = [_verdict(key, candidate) for candidate in every]
    open_ = [candidate for candidate, wrong in zip(every, judged, strict=True) if wrong is None]
    open_.sort(key=lambda candidate: candidate.configuration is not None)
    if keys.is_gpu(device):
        jobs = [trial.Job(_module_of(c.backend), c.configuration, key.kind, sizes) for c in open_]
        found = trial.run(jobs, device, deadline=deadline) if jobs else []
    else:
        found = [verify.wrong(c.loaded(), key.kind, device, sizes) or "" for c in open_]
    for candidate, wrong in zip(open_, found, strict=True):
        if wrong is not None:
            _remember_verdict(key, candidate, wrong)
            judged[every.index(candidate)] = wrong
    for index, candidate in enumerate(every):
        if judged[index] is None:
            if candidate.configuration is None:
                return None
            judged[index] = "there was no time to verify it"
    return [str(wrong) for wrong in judged]


def _verdict(key: Key, candidate: Candidate) -> str | None:
    if candidate.backend == "reference":
        return ""
    entry = store.read(store.VERDICTS, _verdict_key(key, candidate))
    return None if entry is None else str(entry["content"])


def _verdict_key(key: Key, candidate: Candidate) -> Json:
    family = keys.replace_bucket(key, 0)
    return {**family.as_json(), "candidate": asdict(candidate)}


def _remember_verdict(key: Key, candidate: Candidate, wrong: str) -> None:
    named = _verdict_key(key, candidate)
    store.write(store.VERDICTS, store.entry_of(named, wrong))
    # A configuration may ask for more than the chip has; a backend by itself is to work.
    if wrong and candidate.configuration is None:
        report = store.write(store.REPORTS, store.entry_of(named, wrong))
        device = key.device.get("name", key.device["type"])
        warnings.warn(
            f"wavenet_kernels: the {candidate.backend} backend fails {key.kind.describe()} on "
            f"{device} ({wrong}) and is not used for it here. Please send "
            f"{report or 'this message'} to the authors",
            stacklevel=2,
        )


def _why(best: str, figures: Json, refused: Json) -> str:
    first, *others = figures
    if not others:
        return f"no other candidate is right: {'; '.join(refused)}"
    if best == first:
        return f"no other of {len(figures)} is faster by {timing.MARGIN:.0%}"
    times = figures[first]["median_ms"] / figures[best]["median_ms"]
    return f"{times:.2f} times as fast as {first}"


def _module_of(name: str) -> str:
    backend: Any = backends.load(name)
    module: str = backend.__name__
    return module
