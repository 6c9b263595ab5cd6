"""`wavenet synth`: a data set of synthesised sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import progress, say, suggest


def synth(
    folder: Annotated[Path, typer.Argument(help="Where the data set goes.")],
    kind: Annotated[str, typer.Option(help="sounds, or melodies with their notes.")] = "sounds",
    clips_per_class: Annotated[int, typer.Option(help="Of each sound or instrument.")] = 300,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 1.0,
    sample_rate: Annotated[int, typer.Option(help="In Hz.")] = 8000,
    seed: Annotated[int, typer.Option(help="Another seed gives other recordings.")] = 0,
) -> None:
    """Make a data set of ten synthesised environmental sounds, reproducible by seed.

    Or of melodies on four instruments, for models that make sound: the manifest has a row for each
    note, and the instrument as its group.

    Example: wavenet synth sounds/ --clips-per-class 500

    Or: wavenet synth tunes/ --kind melodies
    """
    from wavenet.classifier.data.synth import write_data_set

    with progress("synthesising") as made:
        manifest = write_data_set(
            folder,
            kind=kind,
            clips_per_class=clips_per_class,
            seconds=seconds,
            sample_rate=sample_rate,
            seed=seed,
            progress=made,
        )
    say(f"wrote {manifest}, {clips_per_class} clips a class")
    if kind == "melodies":
        suggest((["train", "--data", folder, "--config", kind], "a WaveNet that plays from notes"))
        return
    suggest(
        (["train", "--data", folder, "--config", "demo"], "a classifier of them, in minutes"),
        (["check-data", "--data", folder], "what a training would see of them"),
    )
