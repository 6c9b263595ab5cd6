"""Loading a saved classifier from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError

from wavenet.models import WaveNetClassifier


class ModelError(ValueError):
    """A saved model that can't be loaded: the message names the folder and what is wrong."""


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
    if not folder.is_dir() and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise ModelError(f"{source}: there is no such folder with a saved model")
    if folder.is_dir():
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise ModelError(f"{source}: has no {name}; accepted is a folder of a saved model")
    try:
        # The mixin prints where it loads from; standard output belongs to predictions.
        with contextlib.redirect_stdout(sys.stderr):
            model = WaveNetClassifier.from_pretrained(str(source), strict=True)
    except json.JSONDecodeError as error:
        raise ModelError(f"{source}: config.json is damaged: {error}") from error
    except (SafetensorError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise ModelError(f"{source}: can't be loaded: {error}") from error
    return model.to(torch.device(device)).eval()
