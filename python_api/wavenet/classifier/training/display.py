"""What a person sees of a run: the data, the model, a progress bar, a line for each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from wavenet.classifier.training.checkpoint import Progress
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.log import ranking
from wavenet.classifier.training.prepare import PreparedData

# Reading the sums waits for the device, so the bar is brought up to date this often.
SECONDS_BETWEEN_UPDATES = 0.5


class Display:
    """Shows a run on a console; on all processes but the main one it shows nothing."""

    def __init__(self, console: Console, active: bool) -> None:
        self.console = console
        self.active = active

    @contextmanager
    def checking(self) -> Iterator[Callable[[int, int], None]]:
        """A bar over the clips that are read before training."""
        with self._bar("{task.fields[figures]}") as bar:
            task = bar.add_task("reading clips", total=None, figures="")
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def describe(self, data: PreparedData, learner: Learner) -> None:
        """The data, the splits, the model and the device, a line each."""
        if not self.active:
            return
        model = learner.model
        self.console.print(data.report.summary(), highlight=False, markup=False)
        parts = data.splits
        self.console.print(
            f"{len(parts.train)} to train on, {len(parts.validation)} to choose the best "
            f"epoch on, {len(parts.test)} to test on",
            highlight=False,
        )
        parameters = sum(parameter.numel() for parameter in model.parameters())
        self.console.print(
            f"{parameters:,} parameters, receptive field {model.receptive_field} samples "
            f"({model.receptive_field_ms:.0f} ms), on {learner.device}, "
            f"{learner.accelerator.num_processes} process(es), precision {learner.precision}, "
            f"{torch.get_num_threads()} CPU threads",
            highlight=False,
        )

    @contextmanager
    def training(self, epochs: int, steps: int, done: int) -> Iterator[TrainingDisplay]:
        """A bar over the steps of all epochs, of which `done` were there before."""
        with self._bar("{task.fields[figures]}") as bar:
            yield TrainingDisplay(self, bar, epochs, epochs * steps, done)

    def _bar(self, figures: str) -> Bar:
        return Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(figures),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not (self.active and self.console.is_terminal),
        )


class TrainingDisplay:
    """The bar of a run under way: loss, accuracy, clips a second, time left."""

    def __init__(self, display: Display, bar: Bar, epochs: int, total: int, done: int) -> None:
        self.display = display
        self.bar = bar
        self.epochs = epochs
        self.task = bar.add_task("training", total=total, completed=done, figures="")
        self.updated = time.perf_counter()
        self.clips = 0.0

    def step(self, progress: Progress, sums: torch.Tensor) -> None:
        """After a step; `sums` are the epoch's loss, correct clips and clips so far."""
        elapsed = time.perf_counter() - self.updated
        if self.bar.disable or elapsed < SECONDS_BETWEEN_UPDATES:
            return
        loss, correct, clips = sums.tolist()
        rate = max(0.0, clips - self.clips) / elapsed
        self.bar.update(
            self.task,
            description=f"epoch {progress.epoch + 1}/{self.epochs}",
            completed=progress.step,
            figures=f"loss {loss / clips:.3f}  accuracy {correct / clips:.1%}  {rate:.0f} clips/s",
        )
        self.updated, self.clips = time.perf_counter(), clips

    def epoch(self, row: dict[str, float], better: bool) -> None:
        """A line for a finished epoch."""
        self.updated, self.clips = time.perf_counter(), 0.0
        if not self.display.active:
            return
        self.display.console.print(
            f"epoch {row['epoch']:>3.0f}/{self.epochs}  loss {row['train_loss']:.3f}  "
            f"accuracy {row['train_accuracy']:.1%}  validation loss {row['validation_loss']:.3f}  "
            f"accuracy {row['validation_accuracy']:.1%}  {row['clips_per_second']:.0f} clips/s"
            f"{'  best' if better else ''}",
            highlight=False,
        )

    def stopped_early(self, progress: Progress) -> None:
        """A line for training that ends before its last epoch."""
        if self.display.active:
            best = ranking(progress.history)[0]["epoch"]
            self.display.console.print(
                f"stopped after epoch {progress.epoch}: no better one since epoch {best:.0f}",
                highlight=False,
            )
