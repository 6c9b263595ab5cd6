"""Finding the recordings of a data set: class folders, split or fold folders, or a manifest."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wavenet.audio.opening import FFMPEG_SUFFIXES, audio_suffixes
from wavenet.audio.shards import TAR
from wavenet.classifier.data.clips import (
    SPLIT_NAMES,
    Clip,
    labels_of,
    natural_key,
    normal_label,
    with_tags,
)
from wavenet.classifier.data.manifest import MANIFEST_SUFFIXES, read_manifest
from wavenet.classifier.data.shards import find_in_shards
from wavenet.classifier.data.tables import find_in_tables, tables_in
from wavenet.classifier.data.walk import files_in, visible
from wavenet.errors import DataError

MANIFEST_NAME = "manifest.csv"
# Where Speech Commands and its kin keep what no class is.
_BACKGROUND_FOLDERS = frozenset(("_background_noise_", "_background_", "_noise_"))
_FOLD = re.compile(r"fold[ _-]?0*(\d+)", re.IGNORECASE)


@dataclass
class PassedOver:
    """What is in a folder and is no clip: it is counted, and said once."""

    undecodable: list[Path] = field(default_factory=list)
    dangling: list[Path] = field(default_factory=list)
    background: list[Path] = field(default_factory=list)

    def warn(self, root: Path, used: str) -> None:
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
              `metadata.csv` as Hugging Face has it (in split folders too), or one of `train.csv`,
              `test.csv` ... for each split, or `meta/NAME.csv` beside `audio/` as ESC-50 has it;
            - a folder with one sub-folder per class, audio files at any depth inside;
            - a folder of tar files as WebDataset's (see `find_in_shards`), or what
              `wavenet prepare` has written;
            - a folder of Parquet or Arrow files as Hugging Face's `datasets` writes them (see
              `find_in_tables`);
            - a folder of `train/`, `validation/`, `test/` (or what else people call them: see
              `SPLIT_NAMES`) or of `fold1/`, `fold2/` ..., each with one sub-folder per class.
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


def manifests_of(root: Path) -> list[tuple[Path, str | None]]:
    """A data set's tables, with the split that each is of; none: it is one of folders."""
    for name in (MANIFEST_NAME, "metadata.csv"):
        if (root / name).is_file():
            return [(root / name, None)]
    entries = visible(root)
    of_split = [
        (entry / "metadata.csv", SPLIT_NAMES[entry.name.lower()])
        for entry in entries
        if entry.name.lower() in SPLIT_NAMES and (entry / "metadata.csv").is_file()
    ]
    of_split = of_split or [
        (entry, SPLIT_NAMES[entry.stem.lower()])
        for entry in entries
        if entry.suffix.lower() in MANIFEST_SUFFIXES and entry.stem.lower() in SPLIT_NAMES
    ]
    if "train" in {split for _, split in of_split}:
        return [*of_split]
    tables = [entry for entry in (root / "meta").glob("*.csv") if entry.is_file()]
    return [(tables[0], None)] if len(tables) == 1 and (root / "audio").is_dir() else []


def _find_in_folder(root: Path, background: str, labelled: bool) -> tuple[list[Clip], str]:
    """The clips, and what may be meant if they are of one class.

    Where no clip needs a label recordings that are in no folder are of a class of root's name.
    """
    passed_over = PassedOver()
    inside: dict[str, list[Path]] = defaultdict(list)  # each of root's folders' recordings
    loose: list[Path] = []
    for path in audio_files(root, passed_over):
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
                clips.append(Clip(path, normal_label(folder)))
    return clips, _deeper(root, inside)


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
        fold = _FOLD.fullmatch(folder)
        if split := SPLIT_NAMES.get(folder.lower()):
            named[folder] = split, None
        elif fold:
            named[folder] = None, fold[1]
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


def _deeper(root: Path, inside: Mapping[str, Sequence[Path]]) -> str:
    """What to say where there is one folder, and the classes may be in it."""
    if len(inside) != 1:
        return ""
    (folder, paths), *_ = inside.items()
    if "" in (classes := _sub_folders(root, paths)) or len(classes) < 2:
        return ""
    return f"; is {root / folder} meant, which holds {len(classes)} folders?"


def audio_files(
    folder: Path,
    passed_over: PassedOver | None = None,
    *,
    unlistable: list[Path] | None = None,
) -> Iterator[Path]:
    """Audio files at any depth; links to folders are followed, circles of them are not.

    With `passed_over` a data set is meant, whose background is no class: it takes what is left out.
    With `unlistable` it takes the folders that can't be listed, which are an error otherwise.

    Raises:
        DataError: a folder can't be listed.
    """
    suffixes = audio_suffixes()  # which looks for an ffmpeg

    def enter(folder: Path) -> bool:
        background = folder.name.lower() in _BACKGROUND_FOLDERS
        if passed_over is not None and background:
            passed_over.background.append(folder)
        return passed_over is None or not background

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
