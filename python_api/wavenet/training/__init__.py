"""Training a classifier: configuration, data preparation, the loop, checkpoints, logs."""

from wavenet.training.config import (
    ConfigError,
    DataConfig,
    RunConfig,
    TrainingConfig,
    load_config,
)
from wavenet.training.errors import CheckpointError, TrainingError, TrainingInterrupted
from wavenet.training.loop import Result, train
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
    "TrainingInterrupted",
    "load_config",
    "prepare_data",
    "split_clips",
    "train",
]
