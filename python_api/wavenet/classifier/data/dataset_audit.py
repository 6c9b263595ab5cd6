"""What is wrong with a data set that training would not stumble over: leaks, clipping, mixtures."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from wavenet.audio.opening import open_audio
from wavenet.classifier.data.clips import Clip, labels_of, natural_key

# So many samples in a row at full scale are a cut-off peak, not a peak.
CLIPPED_RUN = 3
FULL_SCALE = 0.999
# Power of the channels' mean, as a part of the mean of their powers: 20 dB below.
CANCELLED = 0.01
# Floats beyond are no samples of [-1, 1) with a loud moment, but integers that were not scaled.
UNSCALED = 8.0
NAMED = 3


@dataclass(frozen=True)
class Finding:
    """Something about the data. `serious` findings make a trained model or its figures wrong.

    `message` names the first few of `items`, what all of them are about. A `note` says what becomes
    of the data as they are, and there may be nothing to mend.
    """

    kind: str
    serious: bool
    message: str
    items: tuple[str, ...] = ()
    note: bool = False

    @property
    def word(self) -> str:
        """How it is announced."""
        return "serious" if self.serious else "note" if self.note else "finding"


@dataclass(frozen=True)
class Facts:
    """One clip, as it is in its file.

    Attributes:
        rate: in Hz.
        clipped_run: the longest run of samples at full scale.
        peak: the largest sample, of any channel.
        cancels: the channels' mean is next to nothing beside them.
        digest: a hash of the samples.
    """

    rate: int
    channels: int
    seconds: float
    clipped_run: int
    peak: float
    cancels: bool
    digest: str


@dataclass(frozen=True)
class Audit:
    """What the splits of a data set hold, from the files as they are, before any conversion.

    Attributes:
        counts: clips of each class in each split.
        rates, channels: how many files have which.
        seconds: for each split the shortest, median and longest clip, and the sum.
        findings: serious ones first, notes last.
    """

    counts: dict[str, dict[str, int]]
    rates: dict[int, int]
    channels: dict[int, int]
    seconds: dict[str, dict[str, float]]
    findings: list[Finding]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "counts": self.counts,
            "rates": {str(rate): count for rate, count in self.rates.items()},
            "channels": {str(channels): count for channels, count in self.channels.items()},
            "seconds": self.seconds,
            "findings": [vars(finding) for finding in self.findings],
        }


def audit(
    splits: Mapping[str, Sequence[Clip]], *, progress: Callable[[int, int], None] | None = None
) -> Audit:
    """Look at every file of a data set.

    Args:
        splits: by name; the clips can be read, see `check_clips`.
        progress: called with (clips done, clips in all).

    Raises:
        AudioError: a file that can't be read.
    """
    placed = [(name, clip) for name, clips in splits.items() for clip in clips]
    facts: list[Facts] = []
    with ThreadPoolExecutor(4) as pool:
        try:
            for fact in pool.map(_facts, (clip for _, clip in placed)):
                facts.append(fact)
                if progress is not None:
                    progress(len(facts), len(placed))
        except BaseException:  # Ctrl-C must not wait for thousands of files
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    findings = [*_copies(placed, facts), *_groups(splits), *_mixtures(facts)]
    findings += [*_loudness(placed, facts), *_absent(splits), *_spellings(splits)]
    labels = labels_of(clip for _, clip in placed)
    counts = Counter((label, name) for name, clip in placed for label in clip.labels)
    return Audit(
        {label: {name: counts[label, name] for name in splits} for label in labels},
        dict(Counter(fact.rate for fact in facts).most_common()),
        dict(Counter(fact.channels for fact in facts).most_common()),
        _durations(placed, facts),
        sorted(findings, key=lambda finding: (not finding.serious, finding.note)),
    )


def _facts(clip: Clip) -> Facts:
    digest, run, peak = hashlib.sha256(), 0, 0.0
    loudness = mono_loudness = 0.0
    with open_audio(clip.path) as recording:
        rate, channels, frames, at = recording.rate, recording.channels, 0, 0
        for whole in recording.blocks():
            block = whole[_part_of(clip, rate, at, len(whole))]
            at += len(whole)
            digest.update(np.ascontiguousarray(block).tobytes())
            if not len(block):
                continue
            run = max(run, *(_longest_run(np.abs(c) >= FULL_SCALE) for c in block.T))
            peak = max(peak, float(np.abs(block).max()))
            loudness += float(np.square(block, dtype=np.float64).mean(1).sum())
            mono_loudness += float(np.square(block.mean(1), dtype=np.float64).sum())
            frames += len(block)
    cancels = channels > 1 and mono_loudness < CANCELLED * loudness
    return Facts(rate, channels, frames / rate, run, peak, cancels, digest.hexdigest())


def _part_of(clip: Clip, rate: int, before: int, frames: int) -> slice:
    """What of a block of the recording is the clip's, which `before` frames come ahead of."""
    end = before + frames if clip.end is None else round(clip.end * rate)
    return slice(max(0, round(clip.start * rate) - before), max(0, end - before))


def _longest_run(flags: np.ndarray) -> int:
    """Of neighbouring true values."""
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((changes[1::2] - changes[::2]).max(initial=0))


def _copies(placed: list[tuple[str, Clip]], facts: list[Facts]) -> list[Finding]:
    """Recordings that are there more than once, whatever they are called."""
    same: dict[str, list[tuple[str, Clip]]] = defaultdict(list)
    for item, fact in zip(placed, facts, strict=True):
        same[fact.digest].append(item)
    across: list[str] = []
    labelled: list[str] = []
    within: list[str] = []
    for items in same.values():
        if len(items) == 1:
            continue
        first, second = items[0], next((i for i in items if i[0] != items[0][0]), items[1])
        if first[0] != second[0]:
            across.append(f"{first[1].name} ({first[0]}) and {second[1].name} ({second[0]})")
        else:
            within.append(f"{first[1].name} and {second[1].name}")
        own = set(first[1].labels)
        other = next((item for item in items if set(item[1].labels) != own), None)
        if other is not None:
            labelled.append(
                f"{first[1].name} ({first[1].label}) and {other[1].name} ({other[1].label})"
            )
    return [
        *_finding("duplicates across splits", True, across, "the same audio is in two splits"),
        *_finding("contradictory labels", True, labelled, "the same audio has two labels"),
        *_finding("duplicates", False, within, "the same audio is in a split twice"),
    ]


def _groups(splits: Mapping[str, Sequence[Clip]]) -> list[Finding]:
    """Groups that lie on both sides: what was heard in training isn't new in a test."""
    of_group: dict[str, list[str]] = defaultdict(list)
    for name, clips in splits.items():
        for group in {clip.group for clip in clips if clip.group is not None}:
            of_group[group].append(name)
    shared = sorted((g for g, names in of_group.items() if len(names) > 1), key=natural_key)
    if not shared:
        return []
    named = [f"{group} ({', '.join(of_group[group])})" for group in shared]
    message = (
        f"{len(shared)} of {len(of_group)} groups are in several splits, whose figures are then of "
        f"groups that training knows: {_listed(named, '; ')}"
    )
    return [Finding("groups across splits", True, message, tuple(shared))]


def _loudness(placed: list[tuple[str, Clip]], facts: list[Facts]) -> list[Finding]:
    def names(wanted: Callable[[Facts], bool]) -> list[str]:
        return [clip.name for (_, clip), fact in zip(placed, facts, strict=True) if wanted(fact)]

    clipped = f"{CLIPPED_RUN} or more samples in a row are at full scale"
    cancel = "the channels cancel each other (data.channel chooses one)"
    unscaled = "floating-point samples are far beyond [-1, 1], as integers that were not scaled"
    return [
        *_finding(
            "clipping",
            False,
            names(lambda fact: fact.clipped_run >= CLIPPED_RUN and fact.peak < UNSCALED),
            clipped,
        ),
        *_finding("cancelling channels", True, names(lambda fact: fact.cancels), cancel),
        *_finding("unscaled", True, names(lambda fact: fact.peak >= UNSCALED), unscaled),
    ]


def _spellings(splits: Mapping[str, Sequence[Clip]]) -> list[Finding]:
    """Labels that people may have meant as one: Rain and rain, 1 and 01."""
    same: dict[str, set[str]] = defaultdict(set)
    for clips in splits.values():
        for label in labels_of(clips):
            same[_plain(label)].add(label)
    alike = [sorted(labels) for labels in same.values() if len(labels) > 1]
    texts = [" and ".join(labels) for labels in alike]
    message = "labels differ in case, blanks or how a number is written"
    return _finding("labels alike", False, texts, message)


def _plain(label: str) -> str:
    try:
        return repr(float(label))
    except ValueError:
        return re.sub(r"[\s_-]+", " ", label.casefold())


def _mixtures(facts: list[Facts]) -> list[Finding]:
    rates = Counter(fact.rate for fact in facts)
    if len(rates) == 1:
        return []
    text = ", ".join(f"{count} at {rate} Hz" for rate, count in rates.most_common())
    message = f"clips have several rates ({text}); they are converted to the model's"
    return [Finding("rates", False, message, note=True)]


def _absent(splits: Mapping[str, Sequence[Clip]]) -> list[Finding]:
    """Classes that a split does not have: its figures say nothing about them."""
    labels = {label for clips in splits.values() for label in labels_of(clips)}
    findings = []
    for name, clips in splits.items():
        absent = sorted(labels - set(labels_of(clips)), key=natural_key)
        if clips and absent:
            message = f"{name} has no clip of {_listed(absent)}"
            findings.append(Finding("absent classes", False, message, tuple(absent)))
    return findings


def _durations(placed: list[tuple[str, Clip]], facts: list[Facts]) -> dict[str, dict[str, float]]:
    seconds_of: dict[str, list[float]] = defaultdict(list)
    for (name, _), fact in zip(placed, facts, strict=True):
        seconds_of[name].append(fact.seconds)
    return {
        name: {
            "shortest": min(values),
            "median": median(values),
            "longest": max(values),
            "sum": sum(values),
        }
        for name, values in seconds_of.items()
    }


def _finding(kind: str, serious: bool, items: list[str], text: str) -> list[Finding]:
    if not items:
        return []
    times = "once" if len(items) == 1 else f"{len(items)} times"
    return [Finding(kind, serious, f"{text}, {times}: {_listed(items, '; ')}", tuple(items))]


def _listed(items: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return between.join(items[:NAMED]) + more
