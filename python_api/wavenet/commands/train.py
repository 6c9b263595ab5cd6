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
    run_config,
    say,
)


def train(
    out: Annotated[Path, typer.Option(help="The run folder: model, checkpoints, logs.")],
    data: Annotated[
        Path | None, typer.Option(help="A folder with a sub-folder per class, or a CSV manifest.")
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

    Example: wavenet train --config configs/demo.yaml --data recordings/ --out runs/mine

    Single fields are set with --set training.epochs=50 or the like; the resolved configuration,
    with every field there is, lies in the run folder as train.yaml.

    A run that was interrupted goes on with: wavenet train --out runs/mine --resume

    One that is finished goes on for more epochs, at the learning rate that a run of as many in all
    has there: wavenet train --out runs/mine --resume --set training.epochs=60

    Fine-tuning, with the architecture and rate of the trained model:
    wavenet train --from runs/mine --data others/ --out runs/tuned --set training.learning_rate=5e-4

    A generative model is one whose model section has `architecture: wavenet` or `waveglow`:
    wavenet train --config configs/fsdd-wavenet.yaml --data fsdd/manifest.csv --out runs/voices

    On several GPUs: torchrun --nproc-per-node 4 -m wavenet train ... (training.batch_size is that
    of all of them together).
    """
    from wavenet.classifier.run_folder import CONFIG_NAME
    from wavenet.classifier.training import train as run_training

    overrides = list(override or [])
    if leave_out_group is not None:
        overrides.append(f"data.leave_out_group={json.dumps(leave_out_group)}")
    saved = out / CONFIG_NAME
    if resume and config is None and saved.exists():
        config = saved
    settings = run_config(config, overrides, data, start)
    with interruptible(f"wavenet train --out {out} --resume"):
        result = run_training(settings, out, resume=resume, console=console)
    if "validation_bits" in result.best:
        figure = f"validation {result.best['validation_bits']:.3f} bits a sample"
    else:
        figure = f"validation accuracy {result.accuracy:.1%}"
    say(f"best {figure} after {result.epochs} epochs; the model is in {result.run}")
