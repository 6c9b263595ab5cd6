"""`wavenet augment-preview`: hear and see what training does to clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import (
    Config,
    Override,
    given,
    require_folder,
    run_config,
    say,
    suggest,
)


def augment_preview(
    data: Annotated[Path, typer.Option(help="As for `wavenet train`.")],
    out: Annotated[Path, typer.Option(help="Folder for the WAV files and preview.png.")],
    config: Config = None,
    override: Override = None,
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 4,
    versions: Annotated[int, typer.Option(min=1, help="Of each clip, one for each epoch.")] = 3,
) -> None:
    """Write some training clips as they are and as a run would hear them.

    The same clips, crops, changes and mixtures as in the first epochs of `wavenet train` with this
    data and configuration (and its training.seed).

    Example: wavenet augment-preview --data recordings/ --config demo --out preview/
    """
    from wavenet.classifier.report.preview import preview_augmentation

    require_folder(out)
    settings = run_config(config, override, data)
    picture = preview_augmentation(settings, out, clips, versions)
    say(f"wrote {picture} and {clips * (versions + 1)} WAV files beside it")
    command = ["train", *given(data=data, config=config, set=override)]
    suggest((command, "train on clips like these"))
