"""Which clips are used for what: by split, fold or group; splitting off a validation part."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from wavenet.classifier.data.clips import Clip, natural_key, rarest_labels
from wavenet.errors import DataError

Choice = str | Collection[str] | None


def select(
    clips: Sequence[Clip],
    *,
    split: Choice = None,
    fold: Choice = None,
    group: Choice = None,
    exclude_split: Choice = None,
    exclude_fold: Choice = None,
    exclude_group: Choice = None,
) -> list[Clip]:
    """The clips that meet every condition, in their order; each condition is a name or several.

    Leave one speaker out: `select(clips, exclude_group="theo")` to train, `select(clips,
    group="theo")` to test.

    Raises:
        DataError: a name occurs in no clip (a slip of the pen would pass unseen otherwise), or no
            clip meets all conditions.
    """
    conditions = {"split": split, "fold": fold, "group": group}
    exclusions = {"split": exclude_split, "fold": exclude_fold, "group": exclude_group}
    kept = list(clips)
    for wanted, choices in ((True, conditions), (False, exclusions)):
        for field, choice in choices.items():
            if choice is None:
                continue
            names = _known_names(clips, field, choice)
            kept = [clip for clip in kept if (getattr(clip, field) in names) == wanted]
    if not kept:
        raise DataError(
            f"none of the {len(clips)} clips is left by the chosen splits, folds, groups"
        )
    return kept


def values_of(clips: Sequence[Clip], field: str) -> list[str]:
    """The distinct values of `split`, `fold` or `group`, sorted; empty where no clip has one."""
    values = {getattr(clip, field) for clip in clips} - {None}
    return sorted(values, key=natural_key)


def split_validation(
    clips: Sequence[Clip],
    fraction: float,
    seed: int,
    *,
    by_group: bool = False,
    part: str = "validation",
) -> tuple[list[Clip], list[Clip]]:
    """Split off a validation part, the same share of every class.

    The choice hashes the seed with each clip's label and path (from the folder that all clips
    share), so it depends neither on the order of `clips` nor on the machine. Every class keeps at
    least one training clip, and gives at least one validation clip where it has two or more.

    Args:
        clips: what to split.
        fraction: the share of the validation part, between 0 and 1, both excluded.
        seed: another seed gives another choice.
        by_group: keep each group (say, speaker) on one side. The shares are then as near to
            `fraction` as whole groups allow.
        part: what the part is called in errors; "test", say.

    Returns:
        (training clips, validation clips), each in the order of `clips`.

    Raises:
        DataError: `fraction` is out of range, there is nothing to split off, or `by_group` is
            asked for and clips have no group, or whole groups can't be split off without taking
            a class's last training clip.
    """
    if not 0 < fraction < 1:
        raise DataError(f"fraction is {fraction}; a number between 0 and 1 (excluded) is accepted")
    if by_group:
        chosen = _groups(clips, fraction, seed, part)
    else:
        chosen = _per_class(clips, fraction, seed)
    validation = [clip for clip in clips if clip in chosen]
    if not validation:
        raise DataError(
            f"no {part} part can be split off {len(clips)} clips: every class has only one "
            "clip, and training needs it"
        )
    return [clip for clip in clips if clip not in chosen], validation


def are_parts(clips: Sequence[Clip]) -> bool:
    """Whether several are of one recording."""
    return len({clip.path for clip in clips}) < len(clips)


def grouped_by_recording(clips: Sequence[Clip]) -> list[Clip]:
    """The clips with their recordings as groups, where none has one."""
    if any(clip.group is not None for clip in clips):
        return list(clips)
    return [
        replace(clip, group=recording)
        for clip, recording in zip(clips, _recordings(clips), strict=True)
    ]


def require_groups(clips: Sequence[Clip], what: str) -> None:
    """Raise DataError where a clip has no group, which is what is asked for."""
    without = [clip for clip in clips if clip.group is None]
    if without:
        raise DataError(
            f"{what} a group for every clip, {len(without)} have none (first: {without[0].path}); "
            "add a column group to the manifest"
        )


def _known_names(clips: Sequence[Clip], field: str, choice: str | Collection[str]) -> set[str]:
    names = {choice} if isinstance(choice, str) else set(choice)
    known = values_of(clips, field)
    for name in sorted(names):
        if name not in known:
            have = f"there are {', '.join(map(repr, known))}" if known else f"no clip has a {field}"
            raise DataError(f"no clip has the {field} {name!r}; {have}")
    return names


def _rank(seed: int, *parts: str) -> bytes:
    return hashlib.sha256("\0".join((str(seed), *parts)).encode()).digest()


def _names(clips: Sequence[Clip]) -> dict[Clip, str]:
    """A name for each clip that stays when the whole data set moves to another folder."""
    parts = (f"@{clip.start}-{clip.end}" if clip.start or clip.end else "" for clip in clips)
    return {c: name + part for c, name, part in zip(clips, _recordings(clips), parts, strict=True)}


def _recordings(clips: Sequence[Clip]) -> list[str]:
    """The paths of clips from the folder that all share."""
    paths = [os.path.abspath(clip.path) for clip in clips]
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
        return [Path(os.path.relpath(path, root)).as_posix() for path in paths]
    except ValueError:  # on different drives
        return [Path(path).as_posix() for path in paths]


def _per_class(clips: Sequence[Clip], fraction: float, seed: int) -> set[Clip]:
    names = _names(clips)
    of_label: dict[str, list[Clip]] = defaultdict(list)
    for clip, label in zip(names, rarest_labels(list(names)), strict=True):
        of_label[label].append(clip)
    chosen: set[Clip] = set()
    for label, members in of_label.items():
        members.sort(key=lambda clip: _rank(seed, label, names[clip]))
        count = min(max(1, int(len(members) * fraction + 0.5)), len(members) - 1)
        chosen.update(members[:count])
    return chosen


def _groups(clips: Sequence[Clip], fraction: float, seed: int, part: str) -> set[Clip]:
    """Whole groups in hashed order, each taken if it brings the shares nearer to the aim."""
    require_groups(clips, "by_group needs")
    labels = rarest_labels(clips)
    total = Counter(labels)
    of_group: dict[str, Counter[str]] = defaultdict(Counter)
    for clip, label in zip(clips, labels, strict=True):
        of_group[str(clip.group)][label] += 1

    def distance(taken: Counter[str]) -> float:
        return sum(abs(taken[label] / count - fraction) for label, count in total.items())

    def leaves_training(taken: Counter[str]) -> bool:
        return all(taken[label] < count for label, count in total.items())

    candidates = sorted(of_group, key=lambda group: _rank(seed, group))
    candidates = [group for group in candidates if leaves_training(of_group[group])]
    if not candidates:
        raise DataError(
            f"no {part} part can be split off by group: each of the {len(of_group)} groups "
            "holds all clips of some class (data.validation_by_group: false splits it off clip by "
            "clip)"
        )
    taken: Counter[str] = Counter()
    names: set[str] = set()
    for group in candidates:
        after = taken + of_group[group]
        if leaves_training(after) and distance(after) < distance(taken):
            taken, names = after, names | {group}
    if not names:  # every group is far bigger than asked for: the one that overshoots least
        names = {min(candidates, key=lambda group: distance(of_group[group]))}
    return {clip for clip in clips if clip.group in names}
