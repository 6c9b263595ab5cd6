"""`wavenet augment-preview`: hear and see what training does to clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def augment_preview(
    data: Annotated[Path, typer.Option(help="As for `wavenet train`.")],
    out: Annotated[Path, typer.Option(help="Folder for the WAV files and preview.png.")],
    config: Annotated[Path | None, typer.Option(help="A YAML file; see configs/.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value, over the config's.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 4,
    versions: Annotated[int, typer.Option(min=1, help="Of each clip, one for each epoch.")] = 3,
) -> None:
    """Write some training clips as they are and as a run would hear them.

    The same clips, crops, changes and mixtures as in the first epochs of `wavenet train` with this
    data and configuration (and its training.seed).

    Example: wavenet augment-preview --data recordings/ --config configs/demo.yaml --out preview/
    """
    from wavenet.training import load_config
    from wavenet.training.preview import preview_augmentation

    overrides = [*(override or []), f"data.source={json.dumps(str(data.resolve()))}"]
    picture = preview_augmentation(load_config(config, overrides), out, clips, versions)
    typer.echo(f"wrote {picture} and {clips * (versions + 1)} WAV files beside it")
