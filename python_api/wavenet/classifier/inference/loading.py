"""Loading a saved classifier, or its weights into another one, from a folder or the Hub."""

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
from wavenet.classifier.run_folder import MODEL_NAMES
from wavenet.errors import ConfigError, ModelError


def load_model(source: str | os.PathLike[str], device: str = "cpu") -> WaveNetClassifier:
    """A trained classifier in eval mode.

    Args:
        source: a folder with config.json and model.safetensors (a run folder is one), or the name
            of a repository on the Hugging Face Hub, "hf://owner/name"; without the "hf://" it is a
            folder, and none that was mistyped is asked for on the network.
        device: where the model goes, say "cpu" or "cuda".

    Raises:
        ModelError: no such folder, a file missing in it or damaged, or weights that don't fit.
    """
    folder = Path(source)
    place = _device(device)
    # A Path has one slash left.
    on_the_hub = re.fullmatch(r"hf:/{0,2}([\w.-]+/[\w.-]+)", str(source))
    if not folder.is_dir() and not on_the_hub:
        hint = (
            f" (on the Hub: hf://{source})" if re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) else ""
        )
        raise ModelError(f"{source}: there is no such folder with a saved model{hint}")
    if folder.is_dir():
        for name in MODEL_NAMES:
            if not (folder / name).is_file():
                raise ModelError(f"{source}: has no {name}; accepted is a folder of a saved model")
        _check_config(folder / MODEL_NAMES[0])
    try:
        # The mixin prints where it loads from; standard output belongs to predictions.
        with contextlib.redirect_stdout(io.StringIO()):
            name = str(source) if folder.is_dir() or not on_the_hub else on_the_hub[1]
            model = WaveNetClassifier.from_pretrained(name, strict=True)
    except (SafetensorError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise ModelError(f"{source}: can't be loaded: {error}") from error
    return model.to(place).eval()


@torch.no_grad()
def start_from(model: WaveNetClassifier, source: str) -> None:
    """Take over a saved model's weights.

    Of the classifier's rows those of labels that both know; the others, and a next-sample head
    that only `model` has, stay as they are.

    Raises:
        ModelError: the saved model can't be loaded.
        ConfigError: its weights don't fit.
    """
    saved = load_model(source)
    weights = saved.state_dict()
    own = model.state_dict()
    kept = {}
    for name, value in own.items():
        if name.startswith("classifier."):
            rows = value.clone()
            for row, label in enumerate(model.config.labels):
                if label in saved.config.labels and value.shape[1:] == weights[name].shape[1:]:
                    rows[row] = weights[name][saved.config.labels.index(label)]
            kept[name] = rows
        elif name.startswith("next_sample.") and name not in weights:
            kept[name] = value
        elif name not in weights or weights[name].shape != value.shape:
            came = tuple(weights[name].shape) if name in weights else "missing"
            raise ConfigError(
                f"training.init_from {source}: its weights don't fit: {name} is {came}, the "
                f"configuration asks for {tuple(value.shape)}; leave the sizes out of the model "
                "section, `wavenet train --from` takes them from there"
            )
        else:
            kept[name] = weights[name]
    model.load_state_dict(kept)


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
