"""A run folder belongs to one run, and to the processes of one training at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from accelerate import Accelerator

from wavenet.classifier.run_config import RunConfig, load_config
from wavenet.classifier.run_folder import CLIPS_NAME, CONFIG_NAME, holds_run
from wavenet.classifier.training.processes import run_on_main
from wavenet.errors import ConfigError
from wavenet.locks import writable_folder


@contextlib.contextmanager
def claimed(accelerator: Accelerator, config: RunConfig, run: Path, resume: bool) -> Iterator[None]:
    """The folder for these processes, of which the main one holds it for all.

    A start that failed before its first checkpoint leaves the folder free; and before it has
    written anything, no folder.

    Raises:
        ConfigError: the folder holds another run, another process is training into it, it can't
            be written, or there is nothing to train on.
    """
    with contextlib.ExitStack() as held:

        def claim() -> None:
            if not config.data.source:
                raise ConfigError(
                    "data.source is empty; accepted are a folder and a manifest (--data)"
                )
            held.enter_context(writable_folder(run))
            _require_free(run, config, resume)

        run_on_main(accelerator, claim)
        yield


def _require_free(run: Path, config: RunConfig, resume: bool) -> None:
    saved = run / CONFIG_NAME
    # A start writes the clips first: a configuration without them is somebody's own file.
    foreign = saved.exists() and not (run / CLIPS_NAME).exists()
    if holds_run(run) or foreign:
        if not resume:
            raise ConfigError(
                f"{run}: holds a run already; --resume goes on with it, another --out starts a "
                "new one"
            )
        different = _differences(load_config(saved), config) if saved.exists() else []
        if different:
            raise ConfigError(
                f"{run}: can't be resumed with another configuration than its own, {saved}; "
                f"different are {', '.join(different)}"
            )


def _differences(saved: RunConfig, wanted: RunConfig) -> list[str]:
    """In what a run must not differ; it may go on for more epochs than it was to have."""
    names = saved.differences(wanted)
    more = wanted.training.epochs > saved.training.epochs
    return [name for name in names if not (more and name == "training.epochs")]
