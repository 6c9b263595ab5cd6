"""Saved models: a folder of config.json and model.safetensors, or a repository on the Hub."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet.errors import ModelError, extra

CONFIG_NAME = "config.json"
MODEL_NAMES = (CONFIG_NAME, "model.safetensors")
CLASSIFIER = "classifier"  # also what a config.json without an architecture is of

# A model's class and that of its configuration, which are loaded when they are asked for.
Kind = Callable[[], tuple[Any, Any]]


def load_saved(source: str | os.PathLike[str], device: str, kinds: Mapping[str, Kind]) -> nn.Module:
    """A trained model in eval mode, of the class that its config.json names.

    Args:
        source: a folder with config.json and model.safetensors (a run folder is one), or a
            repository on the Hugging Face Hub, "hf://owner/name"; without the "hf://" it is a
            folder, and none that was mistyped is asked for on the network.
        device: where the model goes, say "cpu" or "cuda".
        kinds: what is accepted, by the architecture's name.

    Raises:
        ModelError: no such folder, a file missing in it or damaged, another architecture, or
            weights that don't fit.
    """
    with extra("classifier"):
        from safetensors import SafetensorError

    folder = Path(source)
    place = _device(device)
    if not folder.is_dir():
        repository = _repository(source)
    else:
        repository = None
        for name in MODEL_NAMES:
            if not (folder / name).is_file():
                raise ModelError(f"{source}: has no {name}; accepted is a folder of a saved model")
    try:
        name, config = str(source), folder / CONFIG_NAME
        if repository is not None:
            with extra("classifier"):
                from huggingface_hub import hf_hub_download
            name, config = repository, Path(hf_hub_download(repository, CONFIG_NAME))
        model_class = _class_of(source, config, kinds)
        # The mixin prints where it loads from; standard output belongs to predictions.
        with contextlib.redirect_stdout(io.StringIO()):
            model: nn.Module = model_class.from_pretrained(name, strict=True)
    except ModelError:
        raise
    except (SafetensorError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise ModelError(f"{source}: can't be loaded: {error}") from error
    return model.to(place).eval()


def write_model(model: Any, folder: Path) -> None:
    """Write a model into a folder that is there: what `load_saved` reads, and nothing else."""
    model.save_pretrained(folder, config=model.config)  # as it is, not as the model was made
    (folder / "README.md").unlink(missing_ok=True)  # the Hub's model card, empty
    # safetensors' files are their owner's alone, whatever the umask says.
    shutil.copymode(folder / MODEL_NAMES[0], folder / MODEL_NAMES[1])


def _repository(source: str | os.PathLike[str]) -> str:
    """The name on the Hub."""
    text = str(source)
    # A Path has one slash left.
    if named := re.fullmatch(r"hf:/{0,2}([\w.-]+/[\w.-]+)", text):
        return named[1]
    hint = f" (on the Hub: hf://{text})" if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else ""
    raise ModelError(f"{text}: there is no such folder with a saved model{hint}")


def _class_of(source: object, config: Path, kinds: Mapping[str, Kind]) -> Any:
    """The model's class; a configuration with fields that it lacks would make another network."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{config}: is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{config}: holds a {type(content).__name__}; accepted are fields")
    architecture = content.get("architecture", CLASSIFIER)
    if architecture not in kinds:
        a = "an" if str(architecture)[:1] in tuple("aeiou") else "a"
        raise ModelError(f"{source}: is {a} {architecture}; accepted here: {', '.join(kinds)}")
    model_class, config_class = kinds[architecture]()
    unknown = sorted(set(content) - {field.name for field in dataclasses.fields(config_class)})
    if unknown:
        raise ModelError(f"{config}: has fields that this version does not know: {unknown}")
    return model_class


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # "meta" has no values
    except (RuntimeError, AssertionError) as error:  # NotImplementedError is one
        what = next(iter(str(error).splitlines()), "")
        raise ModelError(f"device {name!r} can't be used here: {what}") from None
    return device
