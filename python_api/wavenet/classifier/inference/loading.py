"""Loading a saved classifier from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError

from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.errors import ModelError


def load_model(source: str | os.PathLike[str], device: str = "cpu") -> WaveNetClassifier:
    """A trained classifier in eval mode.

    Args:
        source: a folder with config.json and model.safetensors (a run folder is one), or the name
            of a repository on the Hugging Face Hub, "owner/name".
        device: where the model goes, say "cpu" or "cuda".

    Raises:
        ModelError: no such folder, a file missing in it or damaged, or weights that don't fit.
    """
    folder = Path(source)
    place = _device(device)
    on_the_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) and not folder.parent.is_dir()
    if not folder.is_dir() and not on_the_hub:
        raise ModelError(f"{source}: there is no such folder with a saved model")
    if folder.is_dir():
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise ModelError(f"{source}: has no {name}; accepted is a folder of a saved model")
        _check_config(folder / "config.json")
    try:
        # The mixin prints where it loads from; standard output belongs to predictions.
        with contextlib.redirect_stdout(io.StringIO()):
            model = WaveNetClassifier.from_pretrained(str(source), strict=True)
    except (SafetensorError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise ModelError(f"{source}: can't be loaded: {error}") from error
    return model.to(place).eval()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # "meta" has no values
    except (RuntimeError, AssertionError) as error:  # NotImplementedError is one
        what = next(iter(str(error).splitlines()), "")
        raise ModelError(f"device {name!r} can't be used here: {what}") from None
    return device


def _check_config(path: Path) -> None:
    """A configuration with fields that this version lacks would make another network."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}; accepted are fields")
    unknown = sorted(set(content) - {f.name for f in dataclasses.fields(WaveNetConfig)})
    if unknown:
        raise ModelError(f"{path}: has fields that this version does not know: {unknown}")
