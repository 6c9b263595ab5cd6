"""Networks without labels: what they are made of, and their configuration."""

from wavenet.networks.architecture import Architecture
from wavenet.networks.presets import list_models

__all__ = ["Architecture", "list_models"]
