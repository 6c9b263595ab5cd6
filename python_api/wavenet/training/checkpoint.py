"""Checkpoints that are whole or not there: a run killed at any moment goes on from the last one.

A checkpoint is a folder `checkpoints/step-00000123` of accelerate's state (weights as safetensors,
optimizer, gradient scaler) and `progress.json`. It is written beside its name and renamed, and
the older ones are removed after that.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator

from wavenet.files import sync
from wavenet.models import WaveNetClassifier


class CheckpointError(RuntimeError):
    """A checkpoint that can't be used: the message names the folder and what is wrong with it."""


@dataclass
class Progress:
    """Where a run stands, beyond what accelerate keeps.

    `step` counts optimizer steps of the whole run, `batch` those of the epoch that is under way,
    whose sums so far are `loss_sum`, `correct`, `clips` and `seconds`. `history` is a row for each
    finished epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    clips: int = 0
    seconds: float = 0.0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(accelerator: Accelerator, run: Path, progress: Progress) -> None:
    """Write the state of the run; every process calls this, one of them does the renaming."""
    folder = run / "checkpoints"
    partial = folder / ".partial"
    final = folder / f"step-{progress.step:08d}"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        text = json.dumps(asdict(progress), indent=1)
        (partial / "progress.json").write_text(text, encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            sync(path)
        partial.rename(final)
        sync(folder)
        for older in _checkpoints(run)[:-1]:
            shutil.rmtree(older, ignore_errors=True)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator: Accelerator, run: Path) -> Progress | None:
    """Restore the newest checkpoint of the run; None if there is none.

    Raises:
        CheckpointError: the newest checkpoint can't be read or doesn't fit the model.
    """
    checkpoints = _checkpoints(run)
    if not checkpoints:
        return None
    newest = checkpoints[-1]
    try:
        content = json.loads((newest / "progress.json").read_text(encoding="utf-8"))
        progress = Progress(**content)
        if not isinstance(progress.history, list):
            raise TypeError("history is not a list")
        accelerator.load_state(str(newest))
    except Exception as error:  # a damaged file makes its reader raise anything
        what = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{newest}: the checkpoint can't be resumed ({what}); without the folder "
            f"{newest.parent} the run starts anew"
        ) from error
    return progress


def save_model(model: WaveNetClassifier, run: Path) -> None:
    """Write model.safetensors and config.json into the run folder, each whole or not at all."""
    partial = run / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    # The weights last: whoever finds new weights finds the configuration that goes with them.
    for name in ("config.json", "model.safetensors"):
        sync(partial / name)
        os.replace(partial / name, run / name)
    shutil.rmtree(partial, ignore_errors=True)


def _checkpoints(run: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))
