"""WaveNet audio classification from the raw waveform, on the fused operators of wavenet_kernels."""

from wavenet import nn
from wavenet.inference import StreamingClassifier, load_model
from wavenet.models import WaveNetClassifier, WaveNetConfig
from wavenet_kernels import __version__

__all__ = [
    "StreamingClassifier",
    "WaveNetClassifier",
    "WaveNetConfig",
    "__version__",
    "load_model",
    "nn",
]
