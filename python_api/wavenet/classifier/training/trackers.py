"""Figures of a run for services and programs that compare runs, by accelerate's trackers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from wavenet.errors import ConfigError

PROJECT = "wavenet"
# TensorBoard is always there, with a writer that can take up a resumed run.
OWN = "tensorboard"


def names_of(text: str) -> list[str]:
    """The names in `training.loggers`.

    Raises:
        ConfigError: one that accelerate does not know, or whose package is not installed.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [name for name in LOGGER_TYPE_TO_CLASS if name != OWN]
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise ConfigError(f"training.loggers has {name!r}; accepted are {', '.join(known)}")
        if name not in installed:
            raise ConfigError(f"training.loggers has {name!r}, which needs: pip install {name}")
    return names


class Trackers:
    """The loggers of a run, on the main process.

    Weights & Biases goes on with a resumed run; others begin another one of its name. Where they
    write to is what they have been told by their own environment variables.

    Args:
        text: `training.loggers`, names between commas; empty: none.
        run: the run folder.
        settings: of the run, by section and name.
    """

    def __init__(self, text: str, run: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        place = run.resolve()
        identity = hashlib.sha256(str(place).encode()).hexdigest()[:16]
        arguments: dict[str, dict[str, Any]] = {
            "wandb": {"name": place.name, "dir": str(place), "id": identity, "resume": "allow"},
            "mlflow": {"run_name": place.name},
        }
        flat = {
            f"{section}.{name}": value if isinstance(value, (int, float, str)) else str(value)
            for section, fields in settings.items()
            for name, value in fields.items()
        }
        self.trackers = []
        for name in names_of(text):
            tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, **arguments.get(name, {}))
            if hasattr(tracker, "start"):
                tracker.start()
            tracker.store_init_configuration(flat)
            self.trackers.append(tracker)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """One epoch's figures."""
        for tracker in self.trackers:
            tracker.log(dict(values), step=step)

    def close(self) -> None:
        """The run is over."""
        for tracker in self.trackers:
            tracker.finish()
