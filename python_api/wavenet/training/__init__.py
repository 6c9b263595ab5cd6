"""Training a classifier: configuration, data preparation, the loop, checkpoints, logs."""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.training.config import (
        DataConfig,
        RunConfig,
        TrainingConfig,
        load_config,
    )
    from wavenet.training.loop import Result, train
    from wavenet.training.prepare import PreparedData, Splits, prepare_data, split_clips

__all__ = [
    "DataConfig",
    "PreparedData",
    "Result",
    "RunConfig",
    "Splits",
    "TrainingConfig",
    "load_config",
    "prepare_data",
    "split_clips",
    "train",
]
