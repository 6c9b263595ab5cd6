"""What a kind of model has of its own in training; loop, step, batches and checkpoints are shared.

A `Task` of a configuration says which clips there are, makes the model and the learner, reads
training clips, validates and puts figures into words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import Dataset

from wavenet.classifier.data import PreparedData
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.run_folder import Row
from wavenet.classifier.training.learner import Learner
from wavenet.generation.section import GenerativeModel

if TYPE_CHECKING:
    from wavenet.classifier.training.checkpoint import RunState
    from wavenet.classifier.training.display import RunLog


@dataclass(frozen=True)
class Source:
    """Training clips as batches are made of them.

    Attributes:
        clips: asked for by a `Draw`.
        targets: class index of each clip, by which classes are balanced.
        lengths: samples of each clip, by which clips come together.
        changed: the same when they are computed on.
        collate: of what `clips` gives, in the process that loads.
        finish: a collated batch on the training device.
        bytes_of: what a step takes of (samples in all, bytes of an activation).
    """

    clips: Dataset[Any]
    targets: Sequence[int]
    lengths: Sequence[int]
    changed: Sequence[int]
    collate: Callable[[Any], Any]
    finish: Callable[[Any], Any]
    bytes_of: Callable[[int, int], int]


class Task(ABC):
    """Of a run's configuration."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    @abstractmethod
    def prepare(
        self, progress: Callable[[int, int], None], run: Path | None = None
    ) -> PreparedData:
        """The clips, checked; those that have to be made are kept in the run's folder."""

    @abstractmethod
    def model(self, data: PreparedData) -> nn.Module:
        """An untrained model, of torch's random numbers."""

    @abstractmethod
    def start_from(self, model: nn.Module) -> None:
        """Take over the weights of `training.init_from`."""

    @abstractmethod
    def learner(self, model: nn.Module, accelerator: Accelerator, steps: int) -> Learner:
        """Of a model and so many steps."""

    @abstractmethod
    def source(self, data: PreparedData, device: torch.device) -> Source:
        """What batches are made of."""

    @abstractmethod
    def learned(self, state: RunState, model: nn.Module) -> Row:
        """Figures of the epoch's training by name, "loss" first."""

    @abstractmethod
    def validate(self, accelerator: Accelerator, model: nn.Module, data: PreparedData) -> Row:
        """The same of validation, in all processes; "loss" is among them."""

    @abstractmethod
    def line(self, row: Row, model: nn.Module, data: PreparedData) -> str:
        """An epoch's figures for the console, between its number and the clips a second."""

    @abstractmethod
    def progress(self, loss: float, correct: float) -> str:
        """Figures for the bar, of the epoch so far."""

    @abstractmethod
    def leave(self, model: nn.Module, data: PreparedData, row: Row, log: RunLog) -> None:
        """Leave in the run folder what an epoch has beside its figures and the model."""


def task_of(config: RunConfig) -> Task:
    """The task of a configuration."""
    from wavenet.classifier.training.classification import Classification
    from wavenet.classifier.training.generation import Generation

    return (Generation if isinstance(config.model, GenerativeModel) else Classification)(config)
