"""The training loop.

All randomness of a step is a function of (seed, step), all order of (seed, epoch), so a run that
was killed and resumed ends with the weights of one that was not, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, skip_first_batches
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from wavenet.data import Batch, ClipDataset, EpochBatchSampler, collate
from wavenet.files import replace_file
from wavenet.inference import evaluate
from wavenet.models import WaveNetClassifier
from wavenet.training.checkpoint import Progress, load_checkpoint, save_checkpoint, save_model
from wavenet.training.config import ConfigError, RunConfig, load_config
from wavenet.training.display import Display
from wavenet.training.log import RunLog
from wavenet.training.loss import ClassificationLoss
from wavenet.training.prepare import PreparedData, clips_table, prepare_data

CONFIG_NAME = "train.yaml"
CLIPS_NAME = "clips.csv"


class TrainingError(RuntimeError):
    """Training that can't go on: the message says why, and what to change."""


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

    Args:
        config: see `load_config`.
        run: the run folder; made if it is not there.
        resume: go on from the newest checkpoint in `run`, or start if there is none.
        console: where progress is shown; None: the standard output.

    Raises:
        ConfigError: the folder holds another run, or `resume` comes with another configuration.
        DataError: no usable data.
        CheckpointError: a checkpoint that can't be resumed.
        TrainingError: the loss is no longer a number.
    """
    settings = config.training
    _claim(run, config, resume)
    accelerator = Accelerator(
        cpu=settings.device == "cpu",
        mixed_precision=_precision(settings.mixed_precision, settings.device),
    )
    display = Display(console or Console(), accelerator.is_main_process)
    _make_deterministic(accelerator)

    anonymous = config.model_config(("a", "b"))
    with display.checking() as checked:
        data = prepare_data(
            config.data, anonymous.sample_rate, anonymous.receptive_field, settings.seed, checked
        )
    torch.manual_seed(settings.seed)
    model = WaveNetClassifier(config.model_config(data.labels))
    loss_of = ClassificationLoss(model, settings.label_smoothing)
    optimizer = torch.optim.AdamW(_groups(model, settings.weight_decay), settings.learning_rate)
    loader = _loader(config, data)
    loss_of, optimizer, loader = accelerator.prepare(loss_of, optimizer, loader)
    steps = settings.epochs * len(loader)
    display.describe(data, model, accelerator)

    if accelerator.is_main_process:
        _record(run, config, data)
    progress = (load_checkpoint(accelerator, run) if resume else None) or Progress()
    log = RunLog(run, progress.history, progress.step) if accelerator.is_main_process else None

    with display.training(settings.epochs, len(loader), progress.step) as shown:
        while progress.epoch < settings.epochs:
            loss_of.train()
            started = time.perf_counter() - progress.seconds
            # float64, which the mps device has not: there the sums are kept on the CPU.
            sums = torch.tensor(
                [progress.loss_sum, progress.correct, progress.clips],
                dtype=torch.float64,
                device="cpu" if accelerator.device.type == "mps" else accelerator.device,
            )
            for batch in _batches(loader, progress.epoch, progress.batch):
                rate = learning_rate(progress.step, steps, settings.warmup_fraction)
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate
                torch.manual_seed(_step_seed(settings.seed, progress.step, accelerator))
                loss, logits = loss_of(batch)
                accelerator.backward(loss)
                if settings.max_grad_norm:
                    accelerator.clip_grad_norm_(loss_of.parameters(), settings.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                progress.step += 1
                progress.batch += 1
                size = batch.labels.shape[0]
                correct = (logits.argmax(1) == batch.labels).sum()
                batch_sums = [loss.detach() * size, correct, torch.full_like(correct, size)]
                sums += torch.stack(batch_sums).to(sums)
                shown.step(progress, sums)
                due = settings.checkpoint_steps and progress.step % settings.checkpoint_steps == 0
                if due and progress.batch < len(loader):
                    _remember(progress, sums, time.perf_counter() - started)
                    save_checkpoint(accelerator, run, progress)

            seconds = time.perf_counter() - started
            loss_sum, correct, clips = accelerator.reduce(sums).tolist()
            found = evaluate(
                model,
                data.splits.validation,
                data.cache,
                batch_size=settings.batch_size,
                max_samples=config.data.max_samples(anonymous.sample_rate),
            )
            if not math.isfinite(loss_sum + found.loss):
                raise TrainingError(
                    f"the loss is not finite in epoch {progress.epoch + 1}; a lower "
                    f"training.learning_rate than {settings.learning_rate:g} may help"
                )
            progress.epoch += 1
            row = {
                "epoch": progress.epoch,
                "step": progress.step,
                "learning_rate": optimizer.param_groups[0]["lr"],
                "train_loss": loss_sum / clips,
                "train_accuracy": correct / clips,
                "validation_loss": found.loss,
                "validation_accuracy": found.accuracy,
                "validation_macro_f1": found.macro_f1,
                "clips_per_second": clips / seconds,
                "seconds": seconds,
            }
            better = (found.accuracy, -found.loss) > (progress.best_accuracy, -progress.best_loss)
            if better:
                progress.best_accuracy, progress.best_loss = found.accuracy, found.loss
            progress.history.append(row)
            progress.batch = 0
            _remember(progress, torch.zeros_like(sums), 0.0)
            if log is not None:
                if better:
                    save_model(model, run)
                log.add(row)
            save_checkpoint(accelerator, run, progress)
            shown.epoch(row, better)
    if log is not None:
        log.close()
    accelerator.end_training()
    seconds = sum(row["seconds"] for row in progress.history)
    return Result(run, progress.best_accuracy, progress.epoch, progress.step, seconds)


def learning_rate(step: int, steps: int, warmup_fraction: float) -> float:
    """The share of the peak rate at a step: linear warm-up, then half a cosine down to 0."""
    warmup = math.ceil(steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _claim(run: Path, config: RunConfig, resume: bool) -> None:
    """The run folder is there, and belongs to this run."""
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
        run.mkdir(parents=True, exist_ok=True)
        (run / ".writable").touch()
        (run / ".writable").unlink()
    except OSError as error:
        raise ConfigError(f"{run}: can't be made a run folder: {error.strerror}") from None


def _record(run: Path, config: RunConfig, data: PreparedData) -> None:
    """Leave the resolved configuration and the clips; on resuming, they are the same."""
    table = clips_table(data)
    saved = run / CLIPS_NAME
    if not saved.exists():
        replace_file(saved, table)
    elif saved.read_text(encoding="utf-8") != table:
        raise ConfigError(f"{run}: can't be resumed: {config.data.source} has changed, see {saved}")
    if not (run / CONFIG_NAME).exists():
        config.save(run / CONFIG_NAME)


def _precision(wanted: str, device: str) -> str:
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return "no"
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(False) else "no"


def _make_deterministic(accelerator: Accelerator) -> None:
    """The same run twice gives the same weights. The CPU's kernels do so anyway."""
    if accelerator.device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def _groups(model: WaveNetClassifier, weight_decay: float) -> list[dict[str, object]]:
    """Weights with decay, biases without. (L, C) parameters of the stack are biases too."""
    named = list(model.named_parameters())
    biases = [parameter for name, parameter in named if name.endswith("bias")]
    weights = [parameter for name, parameter in named if not name.endswith("bias")]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]


def _loader(config: RunConfig, data: PreparedData) -> DataLoader[tuple[Tensor, int]]:
    settings = config.training
    dataset = ClipDataset(
        data.splits.train,
        data.labels,
        data.cache,
        training=True,
        max_samples=config.data.max_samples(data.cache.sample_rate),
        augment=config.augmentation,
        seed=settings.seed,
    )
    sampler = EpochBatchSampler(
        dataset.targets,
        settings.batch_size,
        seed=settings.seed,
        balanced=settings.balanced,
        lengths=dataset.lengths(),
    )
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=config.data.workers,
        pin_memory=torch.cuda.is_available() and settings.device != "cpu",
    )


def _batches(loader: Any, epoch: int, done: int) -> Iterator[Batch]:
    """The epoch's batches after the first `done`, which are skipped without being loaded.

    `loader` is what accelerate made of a DataLoader.
    """
    if done:
        loader = skip_first_batches(loader, done)
    loader.set_epoch(epoch)
    yield from loader


def _step_seed(seed: int, step: int, accelerator: Accelerator) -> int:
    """Dropout's seed: another for each step and process, whatever happened before."""
    return (seed * 1_000_003 + step) * accelerator.num_processes + accelerator.process_index


def _remember(progress: Progress, sums: torch.Tensor, seconds: float) -> None:
    """Put the sums of the epoch under way where a checkpoint finds them."""
    loss_sum, correct, clips = sums.tolist()
    progress.loss_sum, progress.correct, progress.clips = loss_sum, int(correct), int(clips)
    progress.seconds = seconds
