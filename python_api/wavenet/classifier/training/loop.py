"""The training loop.

All randomness of a step is a function of (seed, step), all order of (seed, epoch), so a run that
was killed and resumed ends with the weights of one that was not, bit for bit.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.training.batches import TrainingBatches
from wavenet.classifier.training.checkpoint import (
    Progress,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    save_model,
    writing,
)
from wavenet.classifier.training.config import RunConfig, load_config
from wavenet.classifier.training.display import Display, TrainingDisplay
from wavenet.classifier.training.interrupt import StopRequest, stop_requests
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.log import RunLog, ranking
from wavenet.classifier.training.prepare import PreparedData, clips_table, prepare_data
from wavenet.classifier.training.pretrained import start_from
from wavenet.classifier.training.processes import first_here, on_main, processes, total
from wavenet.classifier.training.validation import validate
from wavenet.errors import ConfigError, TrainingError, TrainingInterrupted
from wavenet.files import replace_file

CONFIG_NAME = "train.yaml"
CLIPS_NAME = "clips.csv"


@dataclass(frozen=True)
class Result:
    """How a run ended: validation accuracy of the saved model, epochs, steps, seconds of training.

    The seconds are those of all epochs, whenever they were run; validation is not in them.
    """

    run: Path
    accuracy: float
    epochs: int
    steps: int
    seconds: float


def train(
    config: RunConfig, run: Path, *, resume: bool = False, console: Console | None = None
) -> Result:
    """Train a classifier; `run` receives model, checkpoints, logs and the resolved config.

    Started by torchrun or `accelerate launch`, the processes share every batch and the validation
    part: the result is that of one process, up to rounding and to what dropout draws. They all
    need to see `run`; the first of them writes it.

    Args:
        config: see `load_config`.
        run: the run folder; made if it is not there.
        resume: go on from the newest checkpoint in `run`, or start if there is none; with any
            number of processes.
        console: where progress is shown; None: the standard output.

    Raises:
        ConfigError: the folder holds another run, or `resume` comes with another configuration.
        DataError: no usable data.
        ModelError: the model to start from can't be loaded.
        CheckpointError: a checkpoint that can't be resumed, or a folder that can't be written.
        TrainingError: the loss is no longer a number.
        TrainingInterrupted: SIGINT or SIGTERM came; there is a checkpoint of the last step.
    """
    with processes(config.training.device) as accelerator:
        return train_among(accelerator, config, run, resume=resume, console=console)


def train_among(
    accelerator: Accelerator,
    config: RunConfig,
    run: Path,
    *,
    resume: bool,
    console: Console | None,
) -> Result:
    """`train` in processes that are there already: torchrun's can be joined only once."""
    settings = config.training
    display = Display(console or Console(), accelerator.is_main_process)
    on_main(accelerator, lambda: _claim(run, config, resume))
    _make_deterministic(accelerator.device)
    data = first_here(accelerator, lambda: _prepare(config, display))
    torch.manual_seed(settings.seed)
    model = WaveNetClassifier(config.model_config(data.labels))
    resume = resume and bool(checkpoints(run))
    if settings.init_from and not resume:
        start_from(model, settings.init_from)
    batches = TrainingBatches(config, data, accelerator)
    learner = Learner(model, settings, accelerator, settings.epochs * len(batches))
    display.describe(data, learner)
    on_main(accelerator, lambda: _record(run, config, data))
    progress = (load_checkpoint(learner, run) if resume else None) or Progress()
    training = _Training(config, run, data, batches, learner, progress)
    with stop_requests(accelerator) as stop:
        training.run_epochs(display, stop)
    best = ranking(progress.history)[0]
    seconds = sum(row["seconds"] for row in progress.history)
    return Result(run, best["validation_accuracy"], progress.epoch, progress.step, seconds)


class _Training:
    """A run under way."""

    def __init__(
        self,
        config: RunConfig,
        run: Path,
        data: PreparedData,
        batches: TrainingBatches,
        learner: Learner,
        progress: Progress,
    ) -> None:
        self.config = config
        self.run = run
        self.data = data
        self.batches = batches
        self.learner = learner
        self.progress = progress
        self.accelerator = learner.accelerator

    def run_epochs(self, display: Display, stop: StopRequest) -> None:
        """Train to the end, or until validation no longer gets better."""
        settings, progress = self.config.training, self.progress
        main = self.accelerator.is_main_process
        log = RunLog(self.run, progress.history, progress.step) if main else None
        with display.training(settings.epochs, len(self.batches), progress.step) as shown:
            while progress.epoch < settings.epochs:
                if settings.patience and progress.epochs_since_best >= settings.patience:
                    shown.stopped_early(progress)
                    break
                row = self._epoch(shown, stop)
                progress.history.append(row)
                progress.epoch += 1
                progress.batch = 0
                self._remember(torch.zeros(3, dtype=torch.float64), 0.0)
                better = progress.epochs_since_best == 0

                def leave(row: dict[str, float] = row, better: bool = better) -> None:
                    assert log is not None
                    if better:
                        save_model(self.learner.evaluated, self.run)
                    with writing(self.run):
                        log.add(row)
                    self._save()

                on_main(self.accelerator, leave)
                shown.epoch(row, better)
                if number := stop.signal(progress.step, ask=True):
                    raise TrainingInterrupted(number)
        if log is not None:
            log.close()

    def _epoch(self, shown: TrainingDisplay, stop: StopRequest) -> dict[str, float]:
        """Train for an epoch, or the rest of it, and evaluate; the row of its figures."""
        settings, progress, learner = self.config.training, self.progress, self.learner
        started = time.perf_counter() - progress.seconds
        # What was summed before a checkpoint is the main process's.
        before = [progress.loss_sum, progress.correct, progress.clips]
        share = float(self.accelerator.is_main_process)
        sums = torch.tensor(before, dtype=torch.float64, device=learner.device_of_sums) * share
        for clips, parts in self.batches.epoch(progress.epoch, progress.batch):
            sums += learner.step(parts, clips, progress.step)
            progress.step += 1
            progress.batch += 1
            shown.step(progress, sums)
            number = stop.signal(progress.step)
            due = settings.checkpoint_steps and progress.step % settings.checkpoint_steps == 0
            if (due or number) and progress.batch < len(self.batches):
                self._remember(total(self.accelerator, sums), time.perf_counter() - started)
                self._require_finite(progress.loss_sum)  # or a good checkpoint would go for this
                on_main(self.accelerator, self._save)
                if number:
                    raise TrainingInterrupted(number)

        seconds = time.perf_counter() - started
        loss_sum, correct, seen = total(self.accelerator, sums).tolist()
        found = validate(
            self.accelerator,
            learner.evaluated,
            self.data.splits.validation,
            self.data.cache,
            batch_size=settings.batch_size,
            max_samples=self.config.data.max_samples(self.data.cache.sample_rate),
        )
        self._require_finite(loss_sum + found.loss)
        return {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "learning_rate": learner.learning_rate,
            "train_loss": loss_sum / seen,
            "train_accuracy": correct / seen,
            "validation_loss": found.loss,
            "validation_accuracy": found.accuracy,
            "validation_macro_f1": found.macro_f1,
            "clips_per_second": seen / seconds,
            "seconds": seconds,
        }

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite in epoch {self.progress.epoch + 1}; a lower "
                f"training.learning_rate than {self.config.training.learning_rate:g} may help"
            )

    def _remember(self, sums: Tensor, seconds: float) -> None:
        """Put the sums of the epoch under way where a checkpoint finds them."""
        loss_sum, correct, clips = sums.tolist()
        progress = self.progress
        progress.loss_sum, progress.correct, progress.clips = loss_sum, int(correct), int(clips)
        progress.seconds = seconds

    def _save(self) -> None:
        save_checkpoint(self.learner, self.run, self.progress, self.config.training.keep_best)


def _prepare(config: RunConfig, display: Display) -> PreparedData:
    model, seed = config.model, config.training.seed
    with display.checking() as checked:
        return prepare_data(config.data, model.sample_rate, model.receptive_field, seed, checked)


def _claim(run: Path, config: RunConfig, resume: bool) -> None:
    """The run folder belongs to this run and can be written; a new one waits for usable data."""
    if not config.data.source:
        raise ConfigError("data.source is empty; accepted are a folder and a manifest (--data)")
    saved = run / CONFIG_NAME
    if saved.exists() and not resume:
        raise ConfigError(
            f"{run}: holds a run already; --resume goes on with it, another --out starts a new one"
        )
    if saved.exists() and (different := load_config(saved).differences(config)):
        raise ConfigError(
            f"{run}: can't be resumed with another configuration than its own, {saved}; "
            f"different are {', '.join(different)}"
        )
    try:
        new = not run.exists()
        run.mkdir(parents=True, exist_ok=True)
        (run / ".writable").touch()
        (run / ".writable").unlink()
        if new:
            run.rmdir()
    except OSError as error:
        raise ConfigError(f"{run}: can't be made a run folder: {error.strerror}") from None


def _record(run: Path, config: RunConfig, data: PreparedData) -> None:
    """Leave the resolved configuration and the clips; on resuming, they are the same."""
    table = clips_table(data)
    saved = run / CLIPS_NAME
    with writing(run):
        run.mkdir(exist_ok=True)
        if not saved.exists():
            replace_file(saved, table)
        elif saved.read_text(encoding="utf-8") != table:
            raise ConfigError(
                f"{run}: can't be resumed: {config.data.source} has changed, see {saved}"
            )
        config.save(run / CONFIG_NAME)


def _make_deterministic(device: torch.device) -> None:
    """The same run twice gives the same weights. The CPU's kernels do so anyway."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
