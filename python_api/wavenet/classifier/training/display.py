"""What a person sees of a run: lines and a bar on the console; figures and curves in its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from wavenet.classifier.data import PreparedData
from wavenet.classifier.run_config import LAST
from wavenet.classifier.run_folder import (
    CURVE_NAME,
    HISTORY_NAME,
    TENSORBOARD_NAME,
    Row,
    history_table,
)
from wavenet.classifier.training.batches import TrainingBatches
from wavenet.classifier.training.checkpoint import RunState
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.tasks import Task
from wavenet.classifier.training.trackers import Trackers
from wavenet.files import replace_file
from wavenet.pictures import new_figure, png_of
from wavenet.progress import Pace, progress

# Reading the sums waits for the device, so the bar is brought up to date this often.
SECONDS_BETWEEN_UPDATES = 0.5
QUIET = Console(quiet=True)
# Of the figures that training and validation both have.
UNITS = {
    "loss": "nats",
    "accuracy": "share of clips",
    "exact": "share of clips",
    "bits": "bits a sample",
}


class Display:
    """Shows a run on a console; on all processes but the main one it shows nothing."""

    def __init__(self, console: Console, active: bool) -> None:
        self.console = console
        self.active = active

    @contextmanager
    def checking(self) -> Iterator[Callable[[int, int], None]]:
        """How many of the clips are read before training."""
        with progress(self.console if self.active else QUIET, "reading clips") as report:
            yield report

    def describe(
        self, data: PreparedData, learner: Learner, batches: TrainingBatches, max_seconds: float
    ) -> None:
        """The data, what is heard of it, the splits, the model, the device, what a step takes."""
        if not self.active:
            return
        model = learner.model
        self.console.print(data.report.summary(), highlight=False, markup=False)
        rate = data.cache.sample_rate
        long = sum(samples > max_seconds * rate for samples in data.report.samples)
        if max_seconds and long:
            self.console.print(
                f"{long} of {len(data.report.samples)} clips are longer than {max_seconds:g} s: so "
                "much of them is heard at a time, in training another part in every epoch "
                "(data.max_seconds)",
                highlight=False,
            )
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
            f"{learner.accelerator.num_processes} process(es), "
            f"{torch.get_num_threads()} CPU thread(s), mixed precision: {learner.precision}",
            highlight=False,
        )
        self.console.print(
            f"a step takes about {batches.memory / 1e9:.2g} GB of memory in each process: up to "
            f"{batches.clips} clips of {batches.seconds:.3g} s at a time",
            highlight=False,
        )

    @contextmanager
    def training(self, task: Task, epochs: int, steps: int, done: int) -> Iterator[TrainingDisplay]:
        """A bar, or lines, over the steps of all epochs, of which `done` were there before."""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not (self.active and self.console.is_terminal),
        ) as bar:
            yield TrainingDisplay(self, bar, task, epochs, epochs * steps, done)


class TrainingDisplay:
    """The bar of a run under way, or lines: the task's figures, clips a second, time left."""

    def __init__(
        self, display: Display, bar: Progress, task: Task, epochs: int, total: int, done: int
    ) -> None:
        self.display = display
        self.bar = bar
        self.figures = task.progress
        self.epochs = epochs
        self.total = total
        self.pace = Pace(done)
        self.task = bar.add_task("training", total=total, completed=done, figures="")
        self.updated = time.perf_counter()
        self.clips = 0.0

    def step(self, state: RunState, sums: torch.Tensor) -> None:
        """After a step; `sums` are the epoch's loss, correct clips and clips so far."""
        elapsed = time.perf_counter() - self.updated
        if not self.display.active or elapsed < SECONDS_BETWEEN_UPDATES:
            return
        if self.bar.disable and not self.pace.due():
            return
        loss, correct, clips = sums.tolist()
        rate = max(0.0, clips - self.clips) / elapsed
        epoch = f"epoch {state.epoch + 1}/{self.epochs}"
        figures = f"{self.figures(loss / clips, correct / clips)}  {rate:.0f} clips/s"
        if self.bar.disable:
            left = self.pace.left(state.step, self.total)
            self.display.console.print(
                f"{epoch}  step {state.step} of {self.total}  {figures}  {left}", highlight=False
            )
        else:
            self.bar.update(self.task, description=epoch, completed=state.step, figures=figures)
        self.updated, self.clips = time.perf_counter(), clips

    def epoch(self, state: RunState, figures: str) -> None:
        """A line for the epoch that was finished last."""
        self.updated, self.clips = time.perf_counter(), 0.0
        if not self.display.active:
            return
        row = state.history[-1]
        parts = [
            f"epoch {row['epoch']:>3.0f}/{self.epochs}",
            figures,
            f"{row['clips_per_second']:.0f} clips/s",
            "best" if state.best_by != LAST and state.epochs_since_best == 0 else "",
            self.pace.left(state.step, self.total),
        ]
        self.display.console.print("  ".join(filter(None, parts)), highlight=False)

    def stopped_early(self, state: RunState) -> None:
        """A line for training that ends before its last epoch."""
        if self.display.active:
            best = state.ranked[0]["epoch"]
            self.display.console.print(
                f"stopped after epoch {state.epoch}: no better one since epoch {best:.0f}",
                highlight=False,
            )


class RunLog:
    """Writes a row for each epoch; a resumed run goes on from the rows of its checkpoint.

    Args:
        run: the run folder.
        history: the rows so far.
        step: the optimizer step from which TensorBoard's older events are to be dropped.
        trackers: other loggers; they are closed with this one.
    """

    def __init__(
        self, run: Path, history: Sequence[Row], step: int, trackers: Trackers | None = None
    ) -> None:
        self.run = run
        self.trackers = trackers
        self.history = list(history)
        self.writer = SummaryWriter(run / TENSORBOARD_NAME, purge_step=step + 1 if step else None)

    def add(self, row: Row) -> None:
        """One epoch's figures: metrics.csv is rewritten as a whole, the curve is drawn anew."""
        self.history.append(row)
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self.writer.add_scalar(name, value, int(row["step"]))
        self.writer.flush()
        if self.trackers is not None:
            self.trackers.log({k: v for k, v in row.items() if k != "step"}, int(row["step"]))
        replace_file(self.run / HISTORY_NAME, history_table(self.history))
        replace_file(self.run / CURVE_NAME, draw_training_curve(self.history))

    def close(self) -> None:
        self.writer.close()
        if self.trackers is not None:
            self.trackers.close()


def draw_training_curve(history: Sequence[Row]) -> bytes:
    """Loss and accuracy, or bits, of training and validation over epochs, as PNG."""
    figure = new_figure(9, 3.5)
    epochs = [row["epoch"] for row in history]
    drawn = [
        (name, unit)
        for name, unit in UNITS.items()
        if {f"train_{name}", f"validation_{name}"} <= history[0].keys()
    ]
    axes = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axis, (name, unit) in zip(axes, drawn, strict=True):
        for part in ("train", "validation"):
            axis.plot(epochs, [row[f"{part}_{name}"] for row in history], label=part)
        axis.set(xlabel="epoch", ylabel=unit, title=name)
        axis.grid(alpha=0.3)
        axis.legend()
    return png_of(figure)
