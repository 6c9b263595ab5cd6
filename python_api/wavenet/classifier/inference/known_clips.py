"""Which recordings a run has had already, also where they lie elsewhere by now."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from pathlib import Path

from wavenet.audio.inside import inside
from wavenet.classifier.data import Clip
from wavenet.classifier.data.clips import Place
from wavenet.classifier.data.manifest import MANIFEST_SUFFIXES


def known_splits(
    clips: Sequence[Clip], root: Path, of_the_run: Sequence[Clip], its_root: Path
) -> tuple[dict[Place, str], bool]:
    """The splits in which a run used clips, by their places now; and whether they have moved.

    A recording is known by its path or, under another root, by its path from there: if the one of
    the run is gone, or has the same content. In tar files and tables names are numbers, alike
    everywhere: for gone ones all have to be known, and to have the label that they had. They have
    moved if all are known and those are gone.

    Args:
        clips: what was found.
        root: of these, a folder; also that of a manifest.
        of_the_run: what its clips.csv lists.
        its_root: of these.
    """
    at = {(os.path.realpath(clip.path), *clip.place[1:]): clip for clip in of_the_run}
    named = {(_name(clip.path, its_root), *clip.place[1:]): clip for clip in of_the_run}
    known: dict[Place, str] = {}
    gone: dict[Place, tuple[Clip, Clip]] = {}
    for clip in clips:
        times = clip.place[1:]
        used = at.get((os.path.realpath(clip.path), *times))
        there = named.get((_name(clip.path, root), *times))
        if used is None and there is not None:
            if not _is_there(there.path):
                gone[clip.place] = clip, there
            elif _same_content(there.path, clip.path):
                used = there
        if used is not None:
            known[clip.place] = str(used.split)
    if any(inside(clip.path) for clip, _ in gone.values()):
        complete = len(known) + len(gone) == len(clips)
        alike = all(there.label in (clip.label, clip.group) for clip, there in gone.values())
        gone = gone if complete and alike else {}
    known |= {place: str(there.split) for place, (_, there) in gone.items()}
    return known, 0 < len(gone) == len(clips)


def _is_there(path: Path) -> bool:
    member = inside(path)
    return path.exists() if member is None else member.is_there


def _same_content(first: Path, second: Path) -> bool:
    if inside(first) is None and inside(second) is None:
        return filecmp.cmp(first, second, shallow=False)
    return _content(first) == _content(second)


def _content(path: Path) -> bytes:
    member = inside(path)
    return path.read_bytes() if member is None else member.read()


def root_of(source: str | os.PathLike[str]) -> Path:
    """The folder that a data set's relative paths start at."""
    path = Path(source)
    return path.parent if path.suffix.lower() in MANIFEST_SUFFIXES else path


def _name(path: Path, root: Path) -> str:
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root))
