"""Training a classifier: configuration, data preparation, the loop, checkpoints, logs."""

from wavenet.training.checkpoint import CheckpointError
from wavenet.training.config import (
    ConfigError,
    DataConfig,
    RunConfig,
    TrainingConfig,
    load_config,
)
from wavenet.training.loop import Result, TrainingError, train
from wavenet.training.prepare import PreparedData, Splits, prepare_data, split_clips

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "PreparedData",
    "Result",
    "RunConfig",
    "Splits",
    "TrainingConfig",
    "TrainingError",
    "load_config",
    "prepare_data",
    "split_clips",
    "train",
]
