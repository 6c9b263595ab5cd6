"""Finding the recordings of a data set: class folders, split folders, or a CSV manifest."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from wavenet.classifier.data.clips import SPLIT_NAMES, Clip, labels_of, natural_key, normal_label
from wavenet.classifier.data.manifest import read_manifest
from wavenet.errors import DataError

# What libsndfile decodes; a CSV manifest may name files with other suffixes.
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus"})
MANIFEST_NAME = "manifest.csv"


def find_clips(source: str | os.PathLike[str], *, min_classes: int = 2) -> list[Clip]:
    """Find the recordings of a data set; no audio is opened.

    Args:
        source: one of
            - a CSV manifest, or a folder that holds `manifest.csv` (columns `path`, `label` and
              optionally `split`, `fold`, `group`; relative paths start at the manifest);
            - a folder with one sub-folder per class, audio files at any depth inside;
            - a folder with `train/` and `validation/` (or `val/`, `valid/`) and/or `test/`, each
              with one sub-folder per class.
          Hidden files, files that are not audio and folders without audio are passed over.
        min_classes: fewer distinct labels than this are an error.

    Returns:
        The clips, in the manifest's order or sorted by path (numbers by value, so "2" before "10").

    Raises:
        DataError: the path is missing, there are no classes, a manifest's row is wrong, or there
            are fewer than `min_classes` labels.
    """
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; a data set is a folder or a CSV manifest")
    if path.is_dir():
        manifest = path / MANIFEST_NAME
        clips = read_manifest(manifest) if manifest.is_file() else _find_in_folder(path)
    elif path.suffix.lower() == ".csv":
        clips = read_manifest(path)
    else:
        raise DataError(
            f"{path}: a data set is a folder with a sub-folder per class or a .csv manifest, "
            f"not a {path.suffix or 'suffix-less'} file"
        )
    labels = labels_of(clips)
    if len(labels) < min_classes:
        raise DataError(
            f"{path}: all {len(clips)} clips have the label {labels[0]!r}; "
            f"at least {min_classes} classes are needed"
        )
    return clips


def _find_in_folder(root: Path) -> list[Clip]:
    folders = [folder for folder in _folders(root) if next(audio_files(folder), None)]
    names = {folder.name.lower() for folder in folders}
    # A class may be called "train"; a split is meant when nothing but splits is there.
    if len(folders) > 1 and "train" in names and names <= SPLIT_NAMES.keys():
        clips = [clip for folder in folders for clip in _find_in_split(root, folder)]
    else:
        clips = [clip for folder in folders for clip in _find_in_class(root, folder, None)]
    loose = sum(map(_is_audio, _visible(root)))
    if not clips:
        came = f"{loose} audio files but no sub-folders with audio" if loose else "no audio files"
        raise DataError(
            f"{root}: found {came}; expected one sub-folder per class with audio files "
            f"({', '.join(sorted(AUDIO_SUFFIXES))}), or a {MANIFEST_NAME} with path,label"
        )
    if loose:
        warnings.warn(
            f"{root}: {loose} audio files are in no class folder and are passed over", stacklevel=3
        )
    return clips


def _find_in_split(root: Path, folder: Path) -> Iterator[Clip]:
    loose = next((path for path in _visible(folder) if _is_audio(path)), None)
    if loose is not None:
        raise DataError(
            f"{root}: holds the splits train/, test/ ..., but {loose.relative_to(root)} is in no "
            f"class; expected one sub-folder per class inside {folder.name}/"
        )
    for class_folder in _folders(folder):
        yield from _find_in_class(root, class_folder, SPLIT_NAMES[folder.name.lower()])


def _find_in_class(root: Path, folder: Path, split: str | None) -> list[Clip]:
    paths = sorted(audio_files(folder), key=lambda p: natural_key(p.relative_to(root).as_posix()))
    return [Clip(path, normal_label(folder.name), split) for path in paths]


def _visible(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: can't be listed ({error.strerror})") from error
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: natural_key(entry.name))


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()


def audio_files(folder: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Audio files at any depth; links to folders are followed, circles of them are not."""
    real = folder.resolve()
    if real in seen:
        return
    for entry in _visible(folder):
        if entry.is_dir():
            yield from audio_files(entry, seen | {real})
        elif _is_audio(entry):
            yield entry
