"""Folds of whole groups: hundreds of speakers, but not as many runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from wavenet.classifier.data.clips import Clip, natural_key
from wavenet.classifier.data.splits import require_groups
from wavenet.errors import DataError


def fold_groups(clips: Sequence[Clip], folds: int) -> list[Clip]:
    """The clips with folds "1", "2", ... of whole groups, of about as many clips each.

    Large groups come first, each into the fold that has the fewest clips; so it depends neither on
    the order of the clips nor on a seed.

    Raises:
        DataError: a clip without a group, or fewer groups than folds.
    """
    require_groups(clips, "folds of groups need")
    sizes = Counter(str(clip.group) for clip in clips)
    if len(sizes) < folds:
        raise DataError(
            f"group_folds is {folds}, and there are {len(sizes)} groups; accepted is up to as many"
        )
    filled = [0] * folds
    fold_of: dict[str, str] = {}
    for group in sorted(sizes, key=lambda group: (-sizes[group], natural_key(group))):
        fold = min(range(folds), key=filled.__getitem__)
        filled[fold] += sizes[group]
        fold_of[group] = str(fold + 1)
    return [replace(clip, fold=fold_of[str(clip.group)]) for clip in clips]
