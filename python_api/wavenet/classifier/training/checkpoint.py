"""Checkpoints that are whole or not there: a run killed at any moment goes on from the last one.

A checkpoint is a folder of the run: a saved model (config.json,
model.safetensors: what was evaluated, that is the average where there is one), state.safetensors
(the weights in training and the optimizer's moments) and progress.json (the position in the epoch,
the figures so far, the gradient scaler). Order, augmentation and dropout are functions of seed,
epoch and step, and so is the learning rate: there is nothing else to keep, and nothing that depends
on how many processes there are.

It is written beside its name and renamed; then those are removed that are neither the newest nor
among the best.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wavenet.classifier.run_folder import (
    CHECKPOINTS_NAME,
    Row,
    checkpoint_folder,
    checkpoints,
    rank_epochs,
)
from wavenet.classifier.training.learner import Learner
from wavenet.errors import CheckpointError
from wavenet.files import sync
from wavenet.saved import MODEL_NAMES, write_model

# Raise it when what is written can't be read by an earlier version, or the other way round.
FORMAT = 2


@dataclass
class RunState:
    """Where a run stands, beyond what the learner holds.

    `step` counts optimizer steps of the whole run, `batch` those of the epoch that is under way,
    whose sums over all processes so far are `loss_sum`, `correct` (clips classified right, 0 where
    nothing is classified), `clips` and `seconds`.
    `history` is a row for each finished epoch, `best_by` what makes one the best.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    clips: int = 0
    seconds: float = 0.0
    history: list[Row] = field(default_factory=list)
    best_by: str = "accuracy"

    @property
    def ranked(self) -> list[Row]:
        """The rows, best epoch first."""
        return rank_epochs(self.history, self.best_by)

    @property
    def epochs_since_best(self) -> int:
        """Finished epochs after the best one."""
        return self.epoch - int(self.ranked[0]["epoch"]) if self.history else 0

    def sums(self) -> Tensor:
        """(3,) float64: the epoch's loss, clips classified right, and clips so far."""
        return torch.tensor([self.loss_sum, self.correct, self.clips], dtype=torch.float64)

    def remember(self, sums: Tensor, seconds: float) -> None:
        """What `sums` are by now, and how long the epoch has taken."""
        loss_sum, correct, clips = sums.tolist()
        self.loss_sum, self.correct, self.clips = loss_sum, int(correct), int(clips)
        self.seconds = seconds

    def finish_epoch(self, row: Row) -> None:
        """The epoch is over and this is its row: the next one starts from nothing."""
        self.history.append(row)
        self.epoch += 1
        self.batch = 0
        self.remember(torch.zeros(3), 0.0)


def save_checkpoint(learner: Learner, run: Path, state: RunState, keep_best: int = 0) -> None:
    """Write the state of the run and keep, of the older ones, the `keep_best` best.

    Raises:
        CheckpointError: it can't be written; what was there before is there still.
    """
    folder = run / CHECKPOINTS_NAME
    partial = folder / ".partial"
    final = checkpoint_folder(run, state.step)
    with writing(run, partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_model(learner.evaluated, partial)
        save_file(learner.tensors(), partial / "state.safetensors")
        content = {"format": FORMAT, "scaler": learner.scaler.state_dict(), **asdict(state)}
        del content["best_by"]  # the configuration's
        (partial / "progress.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            sync(path)
        partial.rename(final)
        sync(folder)
    best = state.ranked[:keep_best]
    kept = {final} | {checkpoint_folder(run, int(row["step"])) for row in best}
    for older in checkpoints(run):
        if older not in kept:
            shutil.rmtree(older, ignore_errors=True)


def load_checkpoint(learner: Learner, run: Path) -> RunState | None:
    """Restore the newest checkpoint of the run; None if there is none.

    Raises:
        CheckpointError: the newest checkpoint can't be read or doesn't fit the model.
    """
    whole = checkpoints(run)
    if not whole:
        return None
    newest = whole[-1]
    try:
        content = json.loads((newest / "progress.json").read_text(encoding="utf-8"))
        scaler = _current(content)
        state = RunState(**content)
        if not isinstance(state.history, list):
            raise TypeError("history is not a list")
        learner.load(
            load_file(newest / "state.safetensors"),
            load_file(newest / "model.safetensors"),
            scaler,
            state.step,
        )
    except Exception as error:  # a damaged file makes its reader raise anything
        what = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{newest}: the checkpoint can't be resumed ({what}); without this folder the run "
            "goes on from the one before, or starts anew if there is none"
        ) from error
    return state


def save_model(model: nn.Module, run: Path) -> None:
    """Write model.safetensors and config.json into the run folder, each whole or not at all.

    Raises:
        CheckpointError: it can't be written; what was there before is there still.
    """
    partial = run / ".model.partial"
    with writing(run, partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_model(model, partial)
        # The weights come last: whoever finds new ones finds the configuration that goes with them.
        for name in MODEL_NAMES:
            sync(partial / name)
            os.replace(partial / name, run / name)
        partial.rmdir()


@contextlib.contextmanager
def writing(run: Path, partial: Path | None = None) -> Iterator[None]:
    """Say in a sentence that something can't be written; the folder `partial` is removed then.

    Raises:
        CheckpointError: instead of what the system said.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        whole = checkpoints(run)
        left = f"the last checkpoint, {whole[-1]}, is whole" if whole else "there is no checkpoint"
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise CheckpointError(
            f"{run}: can't be written to ({reason}); {left}. With room and permission to write, "
            "--resume goes on"
        ) from error


def _current(content: dict[str, Any]) -> dict[str, Any]:
    """Take format and scaler out of progress.json; the scaler's state is returned."""
    version = content.pop("format", 1)
    if version != FORMAT:
        which = "an earlier" if version < FORMAT else "a later"
        raise ValueError(
            f"it is of format {version}, written by {which} version of wavenet, and this one "
            f"reads format {FORMAT}; its weights can be a start: wavenet train --from"
        )
    scaler: dict[str, Any] = content.pop("scaler")
    return scaler
