"""Loading a saved classifier, or its weights into another one, from a folder or the Hub."""

from __future__ import annotations

import os
from typing import Any

import torch

from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.errors import ConfigError
from wavenet.saved import CLASSIFIER, load_saved


def load_model(source: str | os.PathLike[str], device: str = "cpu") -> WaveNetClassifier:
    """A trained classifier in eval mode; `wavenet.load_model` loads the others, too.

    Args:
        source: a folder with config.json and model.safetensors (a run folder is one), or a
            repository on the Hugging Face Hub, "hf://owner/name".
        device: where the model goes, say "cpu" or "cuda".

    Raises:
        ModelError: no such folder, a file missing in it or damaged, another architecture, or
            weights that don't fit.
    """
    model: Any = load_saved(
        source, device, {CLASSIFIER: lambda: (WaveNetClassifier, WaveNetConfig)}
    )
    classifier: WaveNetClassifier = model
    return classifier


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
