"""Finding the recordings of a data set: class folders, split or fold folders, or a manifest."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wavenet.audio.opening import FFMPEG_SUFFIXES, audio_suffixes
from wavenet.audio.shards import TAR
from wavenet.classifier.data.clips import (
    Clip,
    labels_of,
    natural_key,
    normal_label,
    with_tags,
)
from wavenet.classifier.data.layouts import (
    MANIFEST_NAME,
    fold_named,
    listed_splits,
    manifests_of,
    split_named,
    tables_beside,
)
from wavenet.classifier.data.manifest import MANIFEST_SUFFIXES, read_manifest
from wavenet.classifier.data.shards import find_in_shards
from wavenet.classifier.data.tables import find_in_tables, tables_in
from wavenet.classifier.data.walk import files_in, visible
from wavenet.errors import DataError

# Where Speech Commands and its kin keep what no class is.
_BACKGROUND_FOLDERS = frozenset(("_background_noise_", "_background_", "_noise_"))


@dataclass
class PassedOver:
    """What is in a folder and is no clip: it is counted, and said once."""

    undecodable: list[Path] = field(default_factory=list)
    dangling: list[Path] = field(default_factory=list)
    background: list[Path] = field(default_factory=list)
    unlistable: list[Path] = field(default_factory=list)

    def warn(self, root: Path, used: str = "") -> None:
        """A sentence for each kind, but of the background that is used."""
        if paths := self.undecodable:
            kinds = Counter(path.suffix.lower() for path in paths)
            listed = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common())
            _warn(
                f"{root}: {listed} passed over; they need ffmpeg, which is not installed (first: "
                f"{paths[0].relative_to(root)})"
            )
        if paths := self.dangling:
            first = f"first: {paths[0].relative_to(root)}"
            _warn(f"{root}: {len(paths)} links that lead nowhere are passed over ({first})")
        if paths := self.unlistable:
            first = f"first: {paths[0].relative_to(root)}"
            _warn(f"{root}: {len(paths)} folders that can't be listed are passed over ({first})")
        known = {Path(used).resolve(), (root / used).resolve()} if used else set()
        for path in (path for path in self.background if path.resolve() not in known):
            _warn(
                f"{path}: holds background and is no class; augmentation.noise_folder can be set "
                f"to it, and data.background to {path.name}"
            )


def find_clips(
    source: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    separator: str = "",
    min_classes: int = 2,
    background: str = "",
) -> list[Clip]:
    """Find the recordings of a data set; no audio is opened.

    Args:
        source: one of
            - a manifest (see `read_manifest`), or a folder that holds `manifest.csv`, or
              `metadata.csv` or `.jsonl` as Hugging Face has it (in split folders too), or one of
              `train.csv`, `test.csv` ... for each split, or `meta/NAME.csv` or
              `metadata/NAME.csv` beside `audio/` as ESC-50 and UrbanSound8K have it;
            - a folder with one sub-folder per class, audio files at any depth inside, and lists of
              what is for validation and test as Speech Commands has them, if there are any;
            - a folder of tar files as WebDataset's (see `find_in_shards`), or what
              `wavenet prepare` has written;
            - a folder of Parquet or Arrow files as Hugging Face's `datasets` writes them (see
              `find_in_tables`);
            - a folder of `train/`, `validation/`, `test/` (or what else people call them: see
              `split_named`) or of `fold1/`, `fold2/` ..., each with one sub-folder per class.
          Hidden files, files that are not audio, folders without audio and those that systems
          leave (`lost+found`, `@eaDir`, ...) are passed over; so are, with a warning, links that
          lead nowhere, formats that need an ffmpeg where there is none, and `_background_noise_`.
        columns: of a manifest, as `read_manifest` takes them.
        separator: stands between the labels of a clip that has several, in a manifest or in the
            name of a class folder; empty: every clip has one label.
        min_classes: fewer distinct labels than this are an error. 0: labels are of no use, and
            recordings that lie in no sub-folder are taken, too, unless the folders are splits.
        background: a folder, also one in the source, that is known to be passed over.

    Returns:
        The clips, in the manifest's order or sorted by path (numbers by value, so "2" before "10").

    Raises:
        DataError: the path is missing, there are no classes, a manifest's row is wrong, folders
            look like splits but not all have a known name, or there are fewer than `min_classes`
            labels.
    """
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; a data set is a folder or a manifest")
    hint = ""
    if path.is_dir():
        manifests = manifests_of(path)
        if manifests:
            clips = [
                clip
                for manifest, split in manifests
                for clip in read_manifest(
                    manifest, columns=columns, split=split, separator=separator
                )
            ]
        else:
            tars = [entry for entry in visible(path) if entry.suffix.lower() == TAR]
            tables = tables_in(path)
            if tars:
                clips = with_tags(find_in_shards(tars), separator)
            elif tables and next(audio_files(path), None) is None:
                clips = find_in_tables(tables, columns, separator)
            else:
                clips, hint = _find_in_folder(path, background, labelled=min_classes > 0)
                clips = with_tags(clips, separator)
    elif path.suffix.lower() in MANIFEST_SUFFIXES:
        clips = read_manifest(path, columns=columns, separator=separator)
    else:
        raise DataError(
            f"{path}: a data set is a folder with a sub-folder per class or a manifest "
            f"({', '.join(MANIFEST_SUFFIXES)}), not a {path.suffix or 'suffix-less'} file"
        )
    labels = labels_of(clips)
    if not labels:
        raise DataError(f"{path}: none of its {len(clips)} clips has a label")
    if len(labels) < min_classes:
        raise DataError(
            f"{path}: all {len(clips)} clips have the label {labels[0]!r}; "
            f"at least {min_classes} classes are needed{hint}"
        )
    return clips


def _find_in_folder(root: Path, background: str, labelled: bool) -> tuple[list[Clip], str]:
    """The clips, and what may be meant if they are of one class.

    Where no clip needs a label recordings that are in no folder are of a class of root's name.
    """
    passed_over = PassedOver()
    inside: dict[str, list[Path]] = defaultdict(list)  # each of root's folders' recordings
    loose: list[Path] = []
    visible(root)  # which is an error where it can't be listed
    for path in audio_files(root, passed_over, background=False):
        first, *rest = path.relative_to(root).parts
        if rest:
            inside[first].append(path)
        else:
            loose.append(path)
    passed_over.warn(root, background)
    if not inside and (labelled or not loose):
        came = (
            f"{len(loose)} audio files but no sub-folders with audio" if loose else "no audio files"
        )
        raise DataError(
            f"{root}: found {came}; expected one sub-folder per class with audio files "
            f"({', '.join(sorted(audio_suffixes()))}), or a {MANIFEST_NAME} with path,label"
        )
    parts = _parts(root, inside)
    if not parts:
        _warn_of_folders(root, inside)
        if tables := tables_beside(root):
            _warn(
                f"{root}: the folders in it are the classes, and {', '.join(tables)} is not read; "
                f"--data {root / tables[0]} would"
            )
    listed = {} if parts else listed_splits(root)
    clips: list[Clip] = []
    if loose and (labelled or parts):
        _warn(f"{root}: {len(loose)} audio files are in no class folder and are passed over")
    elif loose:
        loose.sort(key=lambda path: natural_key(path.name))
        clips += [Clip(path, normal_label(root.resolve().name)) for path in loose]
    for folder, paths in inside.items():
        for path in sorted(paths, key=lambda p: natural_key(p.relative_to(root).as_posix())):
            if folder in parts:
                label = _class_in(root, folder, path, labelled)
                split, fold = parts[folder]
                clips.append(Clip(path, normal_label(label), split, fold))
            else:
                split = listed.get(path, "train") if listed else None
                clips.append(Clip(path, normal_label(folder), split))
    if listed and not any(path in listed for paths in inside.values() for path in paths):
        raise DataError(f"{root}: none of its recordings is in its lists of validation and test")
    return clips, _deeper(root, {root / folder for folder in parts} or {root}, inside)


def _parts(
    root: Path, inside: Mapping[str, Sequence[Path]]
) -> dict[str, tuple[str | None, str | None]]:
    """Which split or fold each folder is; none are where the folders are classes.

    A class may be called "train", or "test": splits are meant where nothing but splits is there.

    Raises:
        DataError: some folders are splits or folds, it seems, and others are not.
    """
    named: dict[str, tuple[str | None, str | None]] = {}
    for folder in inside:
        if split := split_named(folder):
            named[folder] = split, None
        elif fold := fold_named(folder):
            named[folder] = None, fold
    kinds = {split is None for split, _ in named.values()}
    if len(inside) > 1 and len(named) == len(inside) and len(kinds) == 1:
        splits = {split for split, _ in named.values()}
        if "train" in splits or not _has_loose(root, inside):
            return named
        return {}
    classes = {folder: _sub_folders(root, paths) for folder, paths in inside.items()}
    for folder in named:
        for other in inside:
            both = classes[folder] & classes[other] - {""}
            if other != folder and len(both) > 1 and not {""} & (classes[folder] | classes[other]):
                raise DataError(
                    f"{root}: {folder}/ and {other}/ look like parts of a data set, for both hold "
                    f"{', '.join(sorted(both, key=natural_key)[:3])}; parts are called "
                    "train, validation, test or fold1, fold2, ..., all of one kind, with nothing "
                    f"beside them; else write a {MANIFEST_NAME} with path,label,split"
                )
    return {}


def _class_in(root: Path, folder: str, path: Path, labelled: bool) -> str:
    """The class of a recording in a split's or fold's folder; root's name where in none."""
    name, *rest = path.relative_to(root / folder).parts
    if not rest and not labelled:
        return root.resolve().name
    if not rest:
        raise DataError(
            f"{root}: holds the splits or folds {folder}/ ..., but {path.relative_to(root)} is in "
            f"no class; expected one sub-folder per class inside {folder}/"
        )
    return name


def _sub_folders(root: Path, paths: Sequence[Path]) -> set[str]:
    """Of one of root's folders, those that hold recordings; "" where some lie in none."""
    parts = (path.relative_to(root).parts for path in paths)
    return {part[1] if len(part) > 2 else "" for part in parts}


def _has_loose(root: Path, inside: Mapping[str, Sequence[Path]]) -> bool:
    return any("" in _sub_folders(root, paths) for paths in inside.values())


def _warn_of_folders(root: Path, inside: Mapping[str, Sequence[Path]]) -> None:
    """Where every class folder holds the same folders, those may be the classes."""
    below = [_sub_folders(root, paths) for paths in inside.values()]
    if (
        len(below) > 1
        and len(below[0]) > 1
        and "" not in below[0]
        and below.count(below[0]) == len(below)
    ):
        _warn(
            f"{root}: its folders {_first(inside)} are taken for the classes, and all hold the "
            f"folders {_first(below[0])}; if those are the classes, write a {MANIFEST_NAME} with "
            "path,label,split, and if they are speakers or places, one with path,label,group"
        )


def _first(names: Iterable[str]) -> str:
    ordered = sorted(names, key=natural_key)
    return ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")


def _deeper(root: Path, starts: set[Path], inside: Mapping[str, Sequence[Path]]) -> str:
    """What to say where there is one class, and the classes may be deeper in its folder.

    `starts` are the folders that class folders lie in: the root, or each split's and fold's.
    """
    below = [path.parent.relative_to(root).parts for paths in inside.values() for path in paths]
    at = len(next(iter(starts)).relative_to(root).parts)
    while len({parts[at] for parts in below if len(parts) > at}) == 1:
        at += 1
        folders = {parts[at] for parts in below if len(parts) > at}
        if any(len(parts) <= at for parts in below):
            return ""
        if len(folders) > 1:
            deep = " and ".join(sorted({str(root.joinpath(*parts[:at])) for parts in below})[:2])
            if starts == {root}:
                return f"; is {deep} meant, which holds {len(folders)} folders?"
            return f"; the classes may be the {len(folders)} folders in {deep}, a level too deep"
    return ""


def audio_files(
    folder: Path, passed_over: PassedOver | None = None, *, background: bool = True
) -> Iterator[Path]:
    """Audio files at any depth; links to folders are followed, circles of them are not.

    With `passed_over` it takes what is left out: without `background` that, too, as of a data set,
    where it is no class.

    Raises:
        DataError: a folder can't be listed, and there is no `passed_over`.
    """
    suffixes = audio_suffixes()  # which looks for an ffmpeg

    def enter(folder: Path) -> bool:
        is_left_out = not background and folder.name.lower() in _BACKGROUND_FOLDERS
        if passed_over is not None and is_left_out:
            passed_over.background.append(folder)
        return not is_left_out

    unlistable = None if passed_over is None else passed_over.unlistable
    for path in files_in(folder, enter=enter, unlistable=unlistable):
        suffix = path.suffix.lower()
        if suffix in suffixes and path.is_file():
            yield path
        elif passed_over is not None and path.is_symlink() and not path.exists():
            passed_over.dangling.append(path)
        elif passed_over is not None and suffix in FFMPEG_SUFFIXES and path.is_file():
            passed_over.undecodable.append(path)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)
