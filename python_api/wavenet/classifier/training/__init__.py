"""Training a classifier: configuration, data preparation, the loop, checkpoints, logs."""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.classifier.training.config import (
        DataConfig,
        RunConfig,
        TrainingConfig,
        load_config,
    )
    from wavenet.classifier.training.loop import Result, train
    from wavenet.classifier.training.prepare import PreparedData, Splits, prepare_data, split_clips

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
