"""Loading a saved model of any architecture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from wavenet.saved import CLASSIFIER, Kind, load_saved

if TYPE_CHECKING:
    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow
    from wavenet.networks.amplifier import Amplifier


def load_model(
    source: str | os.PathLike[str], device: str = "cpu"
) -> WaveNetClassifier | WaveNet | WaveGlow | Amplifier:
    """A trained classifier, WaveNet, WaveGlow or amplifier in eval mode, whichever it is.

    Args:
        source: a folder with config.json and model.safetensors (a run folder is one), or a
            repository on the Hugging Face Hub, "hf://owner/name".
        device: where the model goes, say "cpu" or "cuda".

    Raises:
        ModelError: no such folder, a file missing in it or damaged, or weights that don't fit.
    """
    model: Any = load_saved(source, device, {**_trained(), "amplifier": _amplifier})
    loaded: WaveNetClassifier | WaveNet | WaveGlow | Amplifier = model
    return loaded


def load_trained(
    source: str | os.PathLike[str], device: str = "cpu"
) -> WaveNetClassifier | WaveNet | WaveGlow:
    """The same of those that `wavenet train` trains, which an amplifier is not.

    Raises:
        ModelError: as `load_model`, and for an amplifier.
    """
    model: Any = load_saved(source, device, _trained())
    loaded: WaveNetClassifier | WaveNet | WaveGlow = model
    return loaded


def _trained() -> dict[str, Kind]:
    return {CLASSIFIER: _classifier, "wavenet": _wavenet, "waveglow": _waveglow}


def _classifier() -> tuple[Any, Any]:
    from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig

    return WaveNetClassifier, WaveNetConfig


def _wavenet() -> tuple[Any, Any]:
    from wavenet.generation.config import GeneratorConfig
    from wavenet.generation.model import WaveNet

    return WaveNet, GeneratorConfig


def _waveglow() -> tuple[Any, Any]:
    from wavenet.generation.waveglow import WaveGlow
    from wavenet.generation.waveglow_config import WaveGlowConfig

    return WaveGlow, WaveGlowConfig


def _amplifier() -> tuple[Any, Any]:
    from wavenet.networks.amplifier import Amplifier, AmplifierConfig

    return Amplifier, AmplifierConfig
