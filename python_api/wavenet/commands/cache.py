"""`wavenet cache`: what decoded clips take on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import say


def cache(
    folder: Annotated[
        Path | None, typer.Option(help="As data.cache; by default the user's cache folder.")
    ] = None,
    keep_gb: Annotated[
        float | None,
        typer.Option(min=0.0, help="Remove clips until so much is left, long unused ones first."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove them all.")] = False,
) -> None:
    """How many decoded clips are kept, where, and how much they may take; or make room.

    Clips are removed by themselves, those first that were not used for longest, where there would
    be more than WAVENET_CACHE_GB (50) of them. What was removed is decoded again when it is needed.

    Example: wavenet cache --keep-gb 10
    """
    from wavenet.classifier.data import default_cache_folder
    from wavenet.classifier.data.cache_folder import LIMIT_NAME, cached_files, limit_bytes, prune

    folder = folder or default_cache_folder()
    limit = limit_bytes()
    if clear or keep_gb is not None:
        prune(folder, 0 if clear or keep_gb is None else round(keep_gb * 1e9))
    sizes = [file.size for file in cached_files(folder)]
    say(
        f"{folder}: {len(sizes)} clips, {sum(sizes) / 1e9:.2f} GB of {limit / 1e9:g} "
        f"({LIMIT_NAME} says how much)"
    )
