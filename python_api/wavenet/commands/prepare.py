"""`wavenet prepare`: a large data set made ready once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import (
    Channel,
    given,
    interruptible,
    progress,
    require_folder,
    say,
    suggest,
)


def prepare(
    data: Annotated[
        Path, typer.Option(help="A folder with a sub-folder per class, or a CSV manifest.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tar files and manifest.csv.")],
    rate: Annotated[int, typer.Option(min=1, help="Sample rate of the model, in Hz.")] = 16000,
    trim: Annotated[
        float,
        typer.Option(min=0.0, help="Cut off ends so many dB below the peak; 0: nothing."),
    ] = 0.0,
    cut: Annotated[
        float,
        typer.Option(min=0.0, help="Cut recordings into pieces of so many seconds; 0: never."),
    ] = 0.0,
    deduplicate: Annotated[bool, typer.Option(help="Of the same samples keep the first.")] = True,
    columns: Annotated[
        str, typer.Option(help="Of a manifest: path=NAME,label=NAME,... as data.columns.")
    ] = "",
    label_separator: Annotated[
        str, typer.Option(help="Between the labels of a clip, as data.label_separator.")
    ] = "",
    channel: Channel = 0,
    shard_mb: Annotated[float, typer.Option(help="Size of a tar file, in MB.")] = 256.0,
) -> None:
    """Resample, trim, cut and deduplicate recordings into tar files (WebDataset's) with an index.

    What it writes is a data set for --data, whose clips are neither opened nor decoded before
    training begins. Recordings that can't be read or are silent are left out and named. The same
    command goes on where it was interrupted.

    Example: wavenet prepare --data recordings/ --out shards/ --rate 16000 --cut 10

    Then: wavenet train --data shards/ --out runs/mine
    """
    from wavenet.classifier.data import find_clips
    from wavenet.classifier.data.manifest import parse_columns
    from wavenet.classifier.data.prepare_shards import Preparation, prepare_shards
    from wavenet.locks import writable_folder

    require_folder(out)
    settings = Preparation(
        rate=rate,
        trim_db=trim,
        cut_seconds=cut,
        deduplicate=deduplicate,
        channel=channel,
        shard_mb=shard_mb,
    )
    named = parse_columns(columns)
    clips = find_clips(data, columns=named, separator=label_separator, min_classes=1)
    with (
        interruptible("the same command"),
        writable_folder(out),
        progress("recordings prepared", len(clips)) as shown,
    ):
        done = prepare_shards(
            clips, out, settings, lambda state: shown(state.recordings, len(clips))
        )
    for reason in done.reasons:
        say(f"left out: {reason}")
    if done.skipped > len(done.reasons):
        say(f"and {done.skipped - len(done.reasons)} more")
    say(
        f"{done.clips} clips of {done.recordings} recordings in {done.shards} tar file(s); "
        f"{done.duplicates} copies and {done.skipped} unusable recordings are left out"
    )
    separator = f"data.label_separator={label_separator}" if label_separator else None
    suggest((["train", *given(data=out, set=separator, out="runs/mine")], "train on them"))
