"""`wavenet train`: from recordings to a run folder with a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import (
    Config,
    Override,
    Start,
    console,
    interruptible,
    picked,
    run_config,
    say,
    suggest,
)


def train(
    data: Annotated[
        Path | None, typer.Option(help="A folder with a sub-folder per class, or a CSV manifest.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run folder: model, checkpoints, logs; by default runs/ and the data's name."
        ),
    ] = None,
    config: Config = None,
    override: Override = None,
    start: Start = None,
    leave_out_group: Annotated[
        str | None, typer.Option(help="Train on all clips but this group's (speaker, say).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")
    ] = False,
) -> None:
    """Train a classifier on labelled recordings, or a model that makes sound like them.

    Example: wavenet train --data recordings/ --out runs/mine

    Without --config, rate, sizes and epochs are picked by the recordings, and said. Or:
    wavenet train --config demo --data recordings/ --out runs/mine

    Single fields are set with --set training.epochs=50 or the like; the resolved configuration,
    with every field there is, lies in the run folder as train.yaml.

    A run that was interrupted goes on with: wavenet train --out runs/mine --resume

    One that is finished goes on for more epochs, at the learning rate that a run of as many in all
    has there: wavenet train --out runs/mine --resume --set training.epochs=60

    Fine-tuning, with the architecture and rate of the trained model:
    wavenet train --from runs/mine --data others/ --out runs/tuned --set training.learning_rate=5e-4

    A generative model is one whose model section has `architecture: wavenet` or `waveglow`:
    wavenet train --config fsdd-wavenet --data fsdd/manifest.csv --out runs/voices

    On several GPUs: torchrun --nproc-per-node 4 -m wavenet train ... (training.batch_size is that
    of all of them together).
    """
    if out is None:  # before torch is loaded
        out = _usual_folder(data, config)
    from wavenet.classifier.run_folder import CONFIG_NAME, headline
    from wavenet.classifier.training import train as run_training

    overrides = list(override or [])
    if leave_out_group is not None:
        overrides.append(f"data.leave_out_group={json.dumps(leave_out_group)}")
    saved = out / CONFIG_NAME
    if resume and config is None and saved.exists():
        config = saved
    if config is None and start is None and data is not None:
        overrides = [*picked(overrides, data), *overrides]
    settings = run_config(config, overrides, data, start)
    with interruptible(f"wavenet train --out {out} --resume"):
        result = run_training(settings, out, resume=resume, console=console)
    say(f"best {headline(result.best)} after {result.epochs} epochs; the model is in {result.run}")
    if "validation_bits" in result.best:
        suggest(
            (["info", out], "what it is, how fast, and how to hear it"),
            (["evaluate", out], "bits a sample, of each speaker"),
        )
    else:
        suggest(
            (["evaluate", out], "how good it is, on clips that it was not trained on"),
            (["predict", out, "FILE_OR_FOLDER"], "what recordings are"),
        )


def _usual_folder(data: Path | None, config: Path | None) -> Path:
    from wavenet.errors import ConfigError

    if data is None and config is None:
        raise ConfigError(
            "--data is missing: a folder with a sub-folder for each class, or a CSV; "
            "`wavenet synth sounds/` makes one to try it with"
        )
    if data is None:
        raise ConfigError("--out is missing; accepted without it is --data, whose name it takes")
    path = data.resolve()
    name = path.parent.name if path.stem in ("manifest", "metadata") else path.stem
    return Path("runs") / name
