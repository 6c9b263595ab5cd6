"""`wavenet timeline`: which class is heard when in a long recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavenet.commands.common import (
    Channel,
    Device,
    Run,
    console,
    given,
    progress,
    require_file,
    say,
    suggest,
)

if TYPE_CHECKING:
    from wavenet.classifier.inference import Decision

RAW_SUFFIXES = (".raw", ".pcm")
SUFFIXES = (".json", ".csv", ".txt")
WINDOW_SECONDS, HOP_SECONDS = 1.0, 0.25


def timeline(
    run: Run,
    recording: Annotated[Path, typer.Argument(help="A recording of any length.", readable=False)],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Where to write: .json (with every decision), .csv, or .txt, a label track for "
            "Audacity. May be given several times; without it a table is printed."
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(help="Seconds that a decision is about.", show_default=f"{WINDOW_SECONDS}"),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(help="Seconds between decisions.", show_default=f"{HOP_SECONDS}"),
    ] = None,
    streamed: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Run the network once over the whole recording, as `wavenet stream` does, "
            "instead of over every window by itself: window / hop times faster.",
        ),
    ] = False,
    min_probability: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Below this a time gets no label; by default as trained."
        ),
    ] = None,
    channel: Channel = 0,
    device: Device = "cpu",
) -> None:
    """Label the times of a long recording: sliding windows, averaged where they overlap.

    Times that are silent, or in which no class reaches the probability that training has chosen,
    get no label. Labels of a model of tags may overlap. A model of events says frame by frame what
    is heard, without windows.

    Example: wavenet timeline runs/mine day.flac --window 2 --hop 0.5 --out day.csv --out day.txt
    """
    import torch
    from rich.markup import escape
    from rich.table import Table

    from wavenet.audio import audio_blocks
    from wavenet.classifier.inference import (
        classify_stream,
        classify_windows,
        load_model,
        merge_decisions,
    )
    from wavenet.classifier.inference.events import events_in
    from wavenet.classifier.inference.timeline import as_csv, as_json, as_label_track
    from wavenet.errors import DataError
    from wavenet.files import replace_file

    for path in out or ():
        require_file(path, SUFFIXES)
    if recording.suffix.lower() in RAW_SUFFIXES:
        raise DataError(
            f"{recording}: raw PCM does not say its rate; `wavenet stream` hears it, or make a WAV "
            f"of it: ffmpeg -f s16le -ar RATE -ac 1 -i {recording.name} {recording.stem}.wav"
        )
    model = load_model(run, device)
    asked = given(window=window, hop=hop, min_probability=min_probability)
    asked += given(channel=channel or None) + (["--stream"] if streamed else [])
    options = {"--window": window is not None, "--hop": hop is not None, "--stream": streamed}
    unused = [name for name, is_given in options.items() if is_given]
    if model.config.events and unused:
        raise DataError(f"{unused[0]} is given; accepted is none: a model of events has no windows")
    decisions: list[Decision] = []
    total = _seconds(recording)
    with progress("seconds listened to", total) as listened:

        def blocks() -> Iterator[torch.Tensor]:
            heard = 0.0
            for block in audio_blocks(recording, model.config.sample_rate, channel=channel):
                yield block
                heard += len(block) / model.config.sample_rate
                listened(heard, total or heard)

        if model.config.events:
            segments, seconds = events_in(model, blocks(), min_probability)
        else:
            classify = classify_stream if streamed else classify_windows
            window = WINDOW_SECONDS if window is None else window
            hop = HOP_SECONDS if hop is None else hop
            decisions = list(classify(model, blocks(), window_seconds=window, hop_seconds=hop))
            segments = merge_decisions(decisions, min_probability)
            seconds = max((decision.end for decision in decisions), default=0.0)
    labels = model.config.labels
    for path in out or ():
        content = {
            ".json": lambda: as_json(str(recording), segments, decisions, labels, seconds),
            ".csv": lambda: as_csv(segments),
            ".txt": lambda: as_label_track(segments),
        }[path.suffix.lower()]()
        replace_file(path, content)
        say(f"wrote {path}, {len(segments)} segments")
    if not out:
        table = Table("start, s", "end, s", "label", "probability")
        for segment in segments:
            times = (f"{segment.start:.2f}", f"{segment.end:.2f}")
            table.add_row(*times, escape(segment.label), f"{segment.probability:.1%}")
        console.print(table)
        kept = given(out=[f"{recording.stem}.txt", f"{recording.stem}.csv"])
        suggest((["timeline", run, recording, *asked, *kept], "a label track for Audacity, a list"))


def _seconds(recording: Path) -> float | None:
    """Of the recording, as its header has it; None where that can't be read."""
    from wavenet.audio.opening import UNDECODABLE, soundfile

    try:
        return float(soundfile().info(recording).duration)
    except UNDECODABLE:
        return None  # reading it will say what is wrong
