"""Whether a step fits, said before anything is computed."""

from __future__ import annotations

import torch

from wavenet.classifier.memory import memory_of
from wavenet.classifier.run_config import TrainingConfig
from wavenet.classifier.training.batches import TrainingBatches
from wavenet.errors import ConfigError


def require_memory(
    batches: TrainingBatches, settings: TrainingConfig, device: torch.device
) -> None:
    """Raise ConfigError where a step takes more than `training.memory_gb`, or than there is.

    Below one clip a process no batch can be cut.
    """
    needed = batches.memory
    what = (
        f"a step takes about {needed / 1e9:.3g} GB of memory for {batches.clips} clip(s) of "
        f"{batches.seconds:.4g} s"
    )
    help_ = "a lower data.max_seconds, a larger model.stem_stride or a smaller network"
    if settings.memory_gb and needed > settings.memory_gb * 1e9:
        raise ConfigError(
            f"{what}, and training.memory_gb is {settings.memory_gb:g}; accepted is a higher one, "
            f"or {help_}"
        )
    there = memory_of(device)
    if there is not None and needed > there:
        raise ConfigError(
            f"{what}, and {device} has {there / 1e9:.3g} GB; accepted are a lower "
            f"training.memory_gb, which computes a batch in parts, or {help_}"
        )
