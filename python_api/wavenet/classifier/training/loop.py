"""The training loop.

All randomness of a step is a function of (seed, step), all order of (seed, epoch), so a run that
was killed and resumed ends with the weights of one that was not, bit for bit, on as many threads
(PyTorch's own sums on a CPU depend on their number).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console

from wavenet.classifier.data import PreparedData
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.run_folder import (
    CARD_NAME,
    CLIPS_NAME,
    CONFIG_NAME,
    Row,
    checkpoints,
    clips_table,
    forget_failed_start,
    holds_run,
)
from wavenet.classifier.training.backends import decided
from wavenet.classifier.training.batches import TrainingBatches
from wavenet.classifier.training.card import model_card
from wavenet.classifier.training.checkpoint import (
    RunState,
    load_checkpoint,
    save_checkpoint,
    save_model,
    writing,
)
from wavenet.classifier.training.claim import claimed
from wavenet.classifier.training.display import Display, RunLog
from wavenet.classifier.training.processes import (
    once_per_machine,
    processes,
    run_on_main,
    stop_requests,
    sum_over_processes,
)
from wavenet.classifier.training.step_memory import require_memory
from wavenet.classifier.training.tasks import task_of
from wavenet.classifier.training.trackers import Trackers, names_of
from wavenet.errors import ConfigError, TrainingError, TrainingInterrupted
from wavenet.files import replace_file


@dataclass(frozen=True)
class Result:
    """How a run ended: figures of the saved model, epochs, steps, seconds of training.

    The seconds are those of all epochs, whenever they were run; validation is not in them.
    """

    run: Path
    best: Row
    epochs: int
    steps: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Of a classifier's validation."""
        return self.best["validation_accuracy"]


def train(
    config: RunConfig, run: Path, *, resume: bool = False, console: Console | None = None
) -> Result:
    """Train a classifier or a generative model.

    `run` receives model, checkpoints, logs and the resolved config.

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
        ConfigError: the folder holds another run, or another process is training into it, or
            `resume` comes with another configuration, or a step takes more memory than it may.
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
    display = Display(console or Console(), accelerator.is_main_process)
    with claimed(accelerator, config, run, resume):
        return _train(accelerator, config, run, resume, display)


def _train(
    accelerator: Accelerator, config: RunConfig, run: Path, resume: bool, display: Display
) -> Result:
    """In a run folder that is ours."""
    settings = config.training
    names_of(settings.loggers)  # rather now than when the clips have been read
    _make_deterministic(accelerator.device)
    task = task_of(config)
    with display.checking() as checked:
        data = once_per_machine(accelerator, lambda: task.prepare(checked, run))
    torch.manual_seed(settings.seed)
    model = task.model(data)
    resume = resume and bool(checkpoints(run))
    if settings.init_from and not resume:
        task.start_from(model)
    batches = TrainingBatches(config, data, accelerator, task)
    require_memory(batches, settings, accelerator.device)
    learner = task.learner(model, accelerator, settings.epochs * len(batches))
    display.describe(data, learner, batches, config.data.max_seconds)
    run_on_main(accelerator, lambda: _record(run, config, data))
    state = (load_checkpoint(learner, run) if resume else None) or RunState()
    state.best_by = settings.best_by
    log = None
    if accelerator.is_main_process:
        trackers = Trackers(settings.loggers, run, config.as_dict())
        log = RunLog(run, state.history, state.step, trackers)

    def save() -> None:
        save_checkpoint(learner, run, state, settings.keep_best)

    def leave_epoch() -> None:
        assert log is not None
        if state.epochs_since_best == 0:
            save_model(learner.evaluated, run)
        with writing(run):
            if state.epochs_since_best == 0:
                name = run.resolve().name
                card = model_card(name, config, data, learner.evaluated, state.history)
                replace_file(run / CARD_NAME, card)
            log.add(state.history[-1])
            task.leave(learner.evaluated, data, state.history[-1], log)
        save()

    def require_finite(loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite in epoch {state.epoch + 1}; a lower "
                f"training.learning_rate than {settings.learning_rate:g} may help"
            )

    with (
        decided(learner, run, batches.clips, batches.samples),
        stop_requests(accelerator) as stop,
        display.training(task, settings.epochs, len(batches), state.step) as shown,
    ):
        while state.epoch < settings.epochs:
            if settings.patience and state.epochs_since_best >= settings.patience:
                shown.stopped_early(state)
                break

            started = time.perf_counter() - state.seconds
            # What was summed before a checkpoint is the main process's.
            sums = state.sums().to(learner.device_of_sums) * accelerator.is_main_process
            for clips, parts in batches.epoch(state.epoch, state.batch):
                sums += learner.step(parts, clips, state.step)
                state.step += 1
                state.batch += 1
                shown.step(state, sums)
                number = stop.signal(state.step)
                due = settings.checkpoint_steps and state.step % settings.checkpoint_steps == 0
                if (due or number) and state.batch < len(batches):
                    state.remember(
                        sum_over_processes(accelerator, sums), time.perf_counter() - started
                    )
                    require_finite(state.loss_sum)  # or a good checkpoint would go for this
                    run_on_main(accelerator, save)
                    if number:
                        raise TrainingInterrupted(number)

            seconds = time.perf_counter() - started
            state.remember(sum_over_processes(accelerator, sums), seconds)
            require_finite(state.loss_sum)
            validation = task.validate(accelerator, learner.evaluated, data)
            require_finite(validation["loss"])
            learned = task.learned(state, learner.model)
            state.finish_epoch(
                {
                    "epoch": state.epoch + 1,
                    "step": state.step,
                    "learning_rate": learner.learning_rate,
                    **{f"train_{name}": value for name, value in learned.items()},
                    **{f"validation_{name}": value for name, value in validation.items()},
                    "clips_per_second": state.clips / seconds,
                    "seconds": seconds,
                }
            )
            run_on_main(accelerator, leave_epoch)
            shown.epoch(state, task.line(state.history[-1], learner.model, data))
            if number := stop.signal(state.step, ask=True):
                raise TrainingInterrupted(number)
    if log is not None:
        log.close()
    seconds = sum(row["seconds"] for row in state.history)
    return Result(run, state.ranked[0], state.epoch, state.step, seconds)


def _record(run: Path, config: RunConfig, data: PreparedData) -> None:
    """Leave the resolved configuration and the clips; on resuming, they are the same."""
    table = clips_table(data, run)
    saved = run / CLIPS_NAME
    with writing(run):
        if not holds_run(run):
            forget_failed_start(run)
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
