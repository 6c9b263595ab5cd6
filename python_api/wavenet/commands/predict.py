"""`wavenet predict`: what recordings are."""

from __future__ import annotations

from typing import Annotated

import typer

from wavenet.commands.common import (
    Channel,
    Device,
    Recordings,
    Run,
    console,
    print_json,
    say,
    suggest,
    warn,
)


def predict(
    run: Run,
    recordings: Recordings,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    channel: Channel = 0,
    device: Device = "cpu",
) -> None:
    """Name the likeliest classes of recordings.

    "unknown" is what reaches the probability of no class that training has chosen (see
    training.rejection). Of a model of tags all are named that reach theirs.

    Example: wavenet predict runs/mine new.wav folder/ --top 5 --json
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.inference import find_recordings, load_model
    from wavenet.classifier.inference import predict as classify
    from wavenet.classifier.rule import UNKNOWN

    paths = find_recordings(recordings)
    model = load_model(run, device)
    failed = unknown = 0
    what = "tags" if model.config.tags else "label"
    table = Table(
        "recording", what, *(f"{i + 1}." for i in range(min(top, len(model.config.labels))))
    )
    for prediction in classify(model, paths, top, channel=channel):
        failed += bool(prediction.error)
        if as_json:
            content: dict[str, object] = {"path": str(prediction.path)}
            if prediction.error:
                content["error"] = prediction.error
            else:
                if prediction.tags is None:
                    content["label"] = prediction.label
                else:
                    content["tags"] = prediction.tags
                content["top"] = [
                    {"label": label, "probability": probability}
                    for label, probability in prediction.top
                ]
            print_json(content)
        elif prediction.error:
            table.add_row(escape(str(prediction.path)), escape(prediction.error))
        else:
            tags = prediction.tags
            named = prediction.label if tags is None else ", ".join(tags) or "none"
            unknown += tags is None and prediction.label == UNKNOWN
            cells = (f"{label} {probability:.1%}" for label, probability in prediction.top)
            table.add_row(escape(str(prediction.path)), escape(named), *map(escape, cells))
    if not as_json:
        console.print(table)
    if unknown:
        say(
            f"unknown are {unknown} of {len(paths)}: what they sound like most is less likely than "
            f"{max(model.config.rule.least):.1%}, which training chose (training.rejection)"
        )
    if failed:
        warn(f"{failed} of {len(paths)} recordings could not be read or are silent")
        raise typer.Exit(1)
    if not as_json:
        suggest(
            (["timeline", run, "RECORDING"], "what is heard when, in a long recording"),
            (["demo-app", run], "the same in a browser, with a microphone"),
        )
