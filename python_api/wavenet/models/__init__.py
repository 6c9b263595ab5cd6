"""Models: the WaveNet audio classifier and its configuration."""

from wavenet.models.classifier import NextSample, WaveNetClassifier
from wavenet.models.config import WaveNetConfig

__all__ = ["NextSample", "WaveNetClassifier", "WaveNetConfig"]
