"""WaveNets on the fused operators of wavenet_kernels: what a recording is, and new sound.

Nothing is loaded before it is used: neither torch nor what only a part of this package needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavenet import convert, data, nn
    from wavenet.classifier.inference import StreamingClassifier
    from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
    from wavenet.creating import create_model, list_models
    from wavenet.generation.config import GeneratorConfig
    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow
    from wavenet.generation.waveglow_config import WaveGlowConfig
    from wavenet.loading import load_model
    from wavenet.networks.amplifier import Amplifier, AmplifierConfig
    from wavenet_kernels import __version__

__all__ = [
    "Amplifier",
    "AmplifierConfig",
    "GeneratorConfig",
    "StreamingClassifier",
    "WaveGlow",
    "WaveGlowConfig",
    "WaveNet",
    "WaveNetClassifier",
    "WaveNetConfig",
    "__version__",
    "convert",
    "create_model",
    "data",
    "list_models",
    "load_model",
    "nn",
]

_ROOMS = ("convert", "data", "nn")
_MODULE_OF = {
    "Amplifier": "wavenet.networks.amplifier",
    "AmplifierConfig": "wavenet.networks.amplifier",
    "GeneratorConfig": "wavenet.generation.config",
    "WaveGlow": "wavenet.generation.waveglow",
    "WaveGlowConfig": "wavenet.generation.waveglow_config",
    "WaveNet": "wavenet.generation.model",
    "StreamingClassifier": "wavenet.classifier.inference",
    "WaveNetClassifier": "wavenet.classifier.model",
    "WaveNetConfig": "wavenet.classifier.model",
    "__version__": "wavenet_kernels",
    "create_model": "wavenet.creating",
    "list_models": "wavenet.creating",
    "load_model": "wavenet.loading",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"wavenet.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next time it is there
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
