"""Predicting the class of recordings with a saved classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wavenet.audio import read_audio
from wavenet.audio.opening import audio_suffixes
from wavenet.audio.reading import require_sound
from wavenet.classifier.data.find import PassedOver, audio_files
from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import AudioError, DataError


@dataclass(frozen=True)
class Prediction:
    """What a recording is.

    Where it can't be read or is silent, `error` says why and nothing else is there.

    Attributes:
        label: the likeliest class; "unknown" where its probability is below the model's threshold.
        tags: of a model of tags, those that reach their thresholds, likeliest first; else None.
        top: the likeliest classes, best first, with their probabilities.
    """

    path: Path
    label: str = ""
    tags: tuple[str, ...] | None = None
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders replaced by the recordings anywhere inside them, in order.

    A folder that can't be listed stays in the list, for `predict` to say so. What is passed over,
    links that lead nowhere and formats that need an ffmpeg, is said.

    Raises:
        DataError: a path that does not exist, or a folder without recordings.
    """
    recordings: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = _inside(path)
            if not inside:
                accepted = ", ".join(sorted(audio_suffixes()))
                raise DataError(f"{path}: holds no recordings ({accepted})")
            recordings += inside
        elif path.exists():
            recordings.append(path)
        else:
            raise DataError(f"{path}: there is no such file or folder")
    return recordings


def reason(path: Path, error: Exception) -> str:
    """Why one of `find_recordings` can't be heard: of folders, only those are among them."""
    return f"{path}: the folder can't be listed" if path.is_dir() else str(error)


def _inside(folder: Path) -> list[Path]:
    """The recordings in a folder, and the folders in there that can't be listed."""
    passed_over = PassedOver()
    inside = list(audio_files(folder, passed_over))
    inside += passed_over.unlistable
    replace(passed_over, unlistable=[]).warn(folder)
    return inside


@torch.inference_mode()
def predict(
    model: WaveNetClassifier, paths: Sequence[Path], top: int = 1, *, channel: int = 0
) -> Iterator[Prediction]:
    """Classify recordings one after another, each whole.

    Args:
        model: in eval mode.
        paths: files of any format and rate that `read_audio` reads; see `find_recordings`.
        top: how many classes to give for each.
        channel: which one is heard, counted from 1; 0: the mean of all.
    """
    device = next(model.parameters()).device
    for path in paths:
        try:
            waveform = read_audio(path, model.config.sample_rate, channel=channel)
            require_sound(path, waveform.numpy())
        except (AudioError, OSError) as error:
            yield Prediction(path, error=reason(path, error))
            continue
        rule = model.config.rule
        probabilities = rule.probabilities(model(waveform.unsqueeze(0).to(device))[0])
        tags = tuple(label for label, _ in rule.meant(probabilities)) if rule.tags else None
        label = rule.label(probabilities)
        yield Prediction(path, label, tags, tuple(rule.top(probabilities, top)))
