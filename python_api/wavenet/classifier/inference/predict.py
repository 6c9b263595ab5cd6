"""Predicting the class of recordings with a saved classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from wavenet.audio import read_audio
from wavenet.classifier.data.find import AUDIO_SUFFIXES, audio_files
from wavenet.classifier.inference.decisions import top_classes
from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import AudioError, DataError


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of a recording, best first, with their probabilities.

    Where a recording can't be read, `error` says why and `top` is empty.
    """

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders replaced by the recordings anywhere inside them, in order.

    A folder that can't be listed stays in the list, for `predict` to say so.

    Raises:
        DataError: a path that does not exist, or a folder without recordings.
    """
    recordings: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = _inside(path)
            if not inside:
                accepted = ", ".join(sorted(AUDIO_SUFFIXES))
                raise DataError(f"{path}: holds no recordings ({accepted})")
            recordings += inside
        elif path.exists():
            recordings.append(path)
        else:
            raise DataError(f"{path}: there is no such file or folder")
    return recordings


def _inside(folder: Path) -> list[Path]:
    """The recordings in a folder, and the folders in there that can't be listed."""
    try:
        return list(audio_files(folder))
    except DataError:
        pass
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return [folder]
    found = []
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            found += _inside(entry)
        elif entry.suffix.lower() in AUDIO_SUFFIXES:
            found.append(entry)
    return found


@torch.inference_mode()
def predict(model: WaveNetClassifier, paths: Sequence[Path], top: int = 1) -> Iterator[Prediction]:
    """Classify recordings one after another, each whole.

    Args:
        model: in eval mode.
        paths: files of any format and rate that libsndfile reads; see `find_recordings`.
        top: how many classes to give for each.
    """
    device = next(model.parameters()).device
    for path in paths:
        try:
            waveform = read_audio(path, model.config.sample_rate)
        except (AudioError, OSError) as error:
            denied = path.is_dir() and f"{path}: the folder can't be listed"
            yield Prediction(path, error=denied or str(error))
            continue
        logits = model(waveform.unsqueeze(0).to(device))[0]
        yield Prediction(path, tuple(top_classes(logits, model.config.labels, top)))
