"""WaveNet audio classification from the raw waveform, on the fused operators of wavenet_kernels."""

from wavenet import nn
from wavenet.inference import StreamingClassifier, load_model
from wavenet.models import WaveNetClassifier, WaveNetConfig, create_model, list_models
from wavenet_kernels import __version__

__all__ = [
    "StreamingClassifier",
    "WaveNetClassifier",
    "WaveNetConfig",
    "__version__",
    "create_model",
    "list_models",
    "load_model",
    "nn",
]
