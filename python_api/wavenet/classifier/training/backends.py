"""Who computes the operators of a run: decided before its first step, and kept to until its end.

The decisions are in the run folder, and a run that goes on goes on with them, whatever was measured
since: a run that was killed and resumed is to end with the bits of one that was not.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

from wavenet.classifier.run_folder import BACKENDS_NAME
from wavenet.classifier.training.checkpoint import writing
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.processes import run_on_main
from wavenet.errors import TrainingError
from wavenet.files import replace_file
from wavenet_kernels import backends, calibration


def decided(learner: Learner, run: Path, clips: int, samples: int) -> Any:
    """A context in which the run's decisions hold.

    They are those of the run folder if they were made on such a device with this build; else those
    of a batch of so many clips of so many samples, measured now where WAVENET_KERNELS_CALIBRATE
    allows it. Nothing is decided where a backend is named, or calibration is off.

    Raises:
        TrainingError: processes that train together have different builds or devices.
        CheckpointError: the folder can't be written.
    """
    mode = calibration.mode(learner.device)
    if backends.current_backend() != "auto" or mode == "off":
        return contextlib.nullcontext()
    accelerator, path = learner.accelerator, run / BACKENDS_NAME
    where = calibration.where(learner.device)

    def find() -> list[Any]:
        recorded = _read(path)
        if recorded.get("where") == where:
            return calibration.from_entries(recorded["decisions"])
        if mode == "read" and calibration.nothing_is_known():
            return []
        return calibration.calibrate(lambda: learner.rehearse(clips, samples), measure=mode == "on")

    def record() -> None:
        entries = [decision.as_entry() for decision in made]
        content = json.dumps({"where": where, "decisions": entries}, indent=1) + "\n"
        with writing(run):
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                replace_file(path, content)

    group = torch.distributed.group.WORLD if accelerator.num_processes > 1 else None
    try:
        made = calibration.settle(find, group)
    except RuntimeError as error:
        if group is None:
            raise
        raise TrainingError(str(error)) from None
    run_on_main(accelerator, record)
    return calibration.frozen(made)


def _read(path: Path) -> dict[str, Any]:
    """What was recorded; nothing where there is no such file, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and "decisions" in content else {}
    except (OSError, ValueError):
        return {}
