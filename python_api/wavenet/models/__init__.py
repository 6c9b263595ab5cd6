"""Models: the WaveNet audio classifier and its configuration."""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.models.classifier import NextSample, WaveNetClassifier
    from wavenet.models.config import WaveNetConfig
    from wavenet.models.presets import create_model, list_models

__all__ = ["NextSample", "WaveNetClassifier", "WaveNetConfig", "create_model", "list_models"]
