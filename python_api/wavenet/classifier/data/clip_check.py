"""Looking at every clip before training, so that nothing can fail an hour later."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import NamedTuple

from wavenet.audio.reading import require_sound
from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.clips import Clip, labels_of, natural_key
from wavenet.errors import AudioError, DataError


class Skipped(NamedTuple):
    """A clip that can't be used; `kind` is that of `AudioError`, `reason` one sentence."""

    clip: Clip
    kind: str
    reason: str


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds.

    Attributes:
        kept: the usable clips, in the order they came.
        samples: length of each kept clip in samples at `sample_rate`.
        skipped: the others, each with its reason.
        notes: one sentence for each thing that is worth knowing but stops nothing.
        shorter_than_receptive_field: how many kept clips are shorter than `min_samples`.
        sample_rate: in Hz.
    """

    kept: list[Clip]
    samples: list[int]
    skipped: list[Skipped]
    notes: list[str] = field(default_factory=list)
    shorter_than_receptive_field: int = 0
    sample_rate: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Kept clips of each class, classes sorted (numbers by value)."""
        counts = Counter(label for clip in self.kept for label in clip.labels)
        return {label: counts[label] for label in sorted(counts, key=natural_key)}

    @property
    def total_seconds(self) -> float:
        """Duration of all kept clips."""
        return sum(self.samples) / self.sample_rate

    def summary(self, max_skipped: int = 5) -> str:
        """A few lines for a person: size, classes, what was skipped and why, notes."""
        counts = self.counts
        lines = [
            f"{_many(len(self.kept), 'clip')} of {_many(len(counts), 'class', 'classes')}, "
            f"{duration(self.total_seconds)} at {self.sample_rate} Hz"
        ]
        low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[low] == counts[high]:
            lines.append(f"{_many(counts[low], 'clip')} in each class")
        else:
            lines.append(f"from {counts[low]} ({low}) to {counts[high]} ({high}) clips a class")
        if self.skipped:
            kinds = Counter(skipped.kind for skipped in self.skipped)
            by_kind = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
            lines.append(f"skipped {_many(len(self.skipped), 'clip')}: {by_kind}")
            lines += [f"  {skipped.reason}" for skipped in self.skipped[:max_skipped]]
            if len(self.skipped) > max_skipped:
                lines.append(f"  and {len(self.skipped) - max_skipped} more")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def check_clips(
    clips: Sequence[Clip],
    cache: AudioCache,
    *,
    labels: Sequence[str] | None = None,
    min_samples: int = 1,
    silence_dbfs: float = -80.0,
    min_classes: int = 2,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read every clip once (which fills the cache) and sort out those that can't be used.

    Clips that `wavenet prepare` has written at the cache's rate were examined then.

    A clip is skipped when it is missing, unreadable, empty, silent (its peak above its mean stays
    below `silence_dbfs`) or has a label that the model doesn't know. A clip shorter than
    `min_samples` is kept and counted.

    Args:
        clips: what to look at.
        cache: reads the clips, at the model's sample rate.
        labels: the labels the model knows; None: every label is fine.
        min_samples: the model's receptive field in samples.
        silence_dbfs: decibels relative to full scale.
        min_classes: fewer classes than this among the kept clips are an error.
        threads: how many files to read at a time; None: one for each CPU, 8 at most.
        progress: called as (clips done, clips in all) after each clip, in the caller's thread.

    Raises:
        DataError: no clips came, no clip is left, or fewer than `min_classes` classes are; the
            message gives the first reasons.
    """
    if not clips:
        raise DataError("clips is empty; at least one clip is needed")
    threshold = 10 ** (silence_dbfs / 20)
    known = None if labels is None else set(labels)
    outcomes: list[int | AudioError] = [0] * len(clips)
    with ThreadPoolExecutor(threads or min(8, _cpus())) as pool:
        futures = {
            pool.submit(_examine, clip, cache, known, threshold): position
            for position, clip in enumerate(clips)
        }
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                outcomes[futures[future]] = future.result()
                if progress is not None:
                    progress(done, len(clips))
        except BaseException:  # Ctrl-C must not wait for thousands of files
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    kept, samples, skipped = [], [], []
    for clip, outcome in zip(clips, outcomes, strict=True):
        if isinstance(outcome, AudioError):
            skipped.append(Skipped(clip, outcome.kind, str(outcome)))
        else:
            kept.append(clip)
            samples.append(outcome)
    _require_classes(kept, skipped, min_classes)
    short = sum(length < min_samples for length in samples)
    notes = _notes(kept, labels, short, min_samples, cache.sample_rate)
    return CheckReport(kept, samples, skipped, notes, short, cache.sample_rate)


def _cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _examine(
    clip: Clip, cache: AudioCache, known: set[str] | None, threshold: float
) -> int | AudioError:
    """The clip's length in samples, or why it can't be used."""
    strange = None if known is None else next((x for x in clip.labels if x not in known), None)
    if known is not None and strange is not None:
        return AudioError(
            f"{clip.path}: its label {strange!r} is not one of the model's {len(known)} labels",
            "unknown label",
        )
    if (known_size := clip.prepared_samples(cache.sample_rate)) is not None:
        return known_size
    try:
        samples = cache.open_clip(clip)
        require_sound(clip.name, samples, threshold)
    except AudioError as error:
        return error
    return samples.size


def _require_classes(kept: list[Clip], skipped: list[Skipped], min_classes: int) -> None:
    left = labels_of(kept)
    if kept and len(left) >= min_classes:
        return
    if not kept:
        message = f"none of the {len(skipped)} clips can be used"
    else:
        message = (
            f"only {_many(len(left), 'class', 'classes')} ({', '.join(left)}) is left of the data, "
            f"at least {min_classes} are needed"
        )
        if skipped:
            message += f"; {_many(len(skipped), 'clip')} can't be used"
    if skipped:
        message += f", first: {skipped[0].reason}"
    raise DataError(message)


def _notes(
    kept: list[Clip], labels: Sequence[str] | None, short: int, min_samples: int, rate: int
) -> list[str]:
    notes = []
    if short:
        notes.append(
            f"{short} of {len(kept)} clips are shorter than the receptive field of {min_samples} "
            f"samples ({1000 * min_samples / rate:.0f} ms): they are used, and what the model sees "
            "beyond their start is zeros"
        )
    counts = Counter(label for clip in kept for label in clip.labels)
    absent = [label for label in labels or () if label not in counts]
    if absent:
        named = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if absent[5:] else "")
        notes.append(f"no clip of {_many(len(absent), 'label')} the model knows: {named}")
    if empty := sum(not clip.labels for clip in kept):
        notes.append(f"{empty} clips have no label: they are examples of none")
    if not counts:
        return notes
    (most, high), (least, low) = counts.most_common()[0], counts.most_common()[-1]
    if high >= 10 * low:
        notes.append(
            f"{most} has {high} clips and {least} only {low}: class-balanced sampling may help"
        )
    return notes


def _many(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


def duration(seconds: float) -> str:
    """For people."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
