"""`wavenet cross-validate`: a run for each fold or group, mean and spread of what they give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import (
    Config,
    Override,
    Start,
    console,
    given,
    interruptible,
    require_folder,
    run_config,
    say,
    suggest,
)


def cross_validate(
    out: Annotated[Path, typer.Option(help="The folder of all runs, and of what came out.")],
    folds: Annotated[
        bool, typer.Option("--folds", help="A run for each fold in the manifest.")
    ] = False,
    groups: Annotated[
        bool,
        typer.Option("--leave-one-group-out", help="A run for each group (speaker, say)."),
    ] = False,
    group_folds: Annotated[
        int | None,
        typer.Option(min=2, help="So many runs, each leaving out whole groups (speakers, say)."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A CSV manifest with a column fold or group.")
    ] = None,
    config: Config = None,
    override: Override = None,
    start: Start = None,
) -> None:
    """Train and test once for each fold or group, and give the mean and standard deviation.

    Each run is tested on what it left out, whatever the manifest's splits say, and chooses its best
    epoch on a validation part of the rest. The same command goes on after an interruption. Under
    torchrun the processes share each run.

    Example: wavenet cross-validate --leave-one-group-out --data fsdd/manifest.csv
    --config fsdd --out runs/fsdd-speakers
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.cross_validation import cross_validate as run_all
    from wavenet.classifier.run_folder import CROSS_VALIDATION_NAME
    from wavenet.errors import ConfigError

    if [folds, groups, group_folds is not None].count(True) != 1:
        raise ConfigError(
            "accepted is one of --folds, --leave-one-group-out and --group-folds NUMBER"
        )
    require_folder(out)
    more = [] if group_folds is None else [f"data.group_folds={group_folds}"]
    settings = run_config(config, [*(override or []), *more], data, start)
    by = "group" if groups else "fold"
    with interruptible("the same command"):
        result = run_all(settings, out, by=by, console=console)
    figure = "map" if "map" in result.parts[0] else "accuracy"
    name = "mAP" if figure == "map" else figure
    others = {"macro_f1": "macro-F1"}
    if "event_f1" in result.parts[0]:
        others |= {"event_f1": "event-F1", "segment_f1": "segment-F1"}
    table = Table(f"{by} left out", "clips", name, *others.values(), "loss")
    for part in result.parts:
        figures = (f"{part[other]:.4f}" for other in (*others, "loss"))
        table.add_row(escape(part["name"]), str(part["clips"]), f"{part[figure]:.2%}", *figures)
    console.print(table)
    means = "".join(
        f", {title} {result.mean(other):.4f} +- {result.standard_deviation(other):.4f}"
        for other, title in others.items()
    )
    say(
        f"{name} {result.mean(figure):.2%} +- {result.standard_deviation(figure):.2%}{means} "
        f"(mean and standard deviation over {len(result.parts)} {by}s); "
        f"{CROSS_VALIDATION_NAME} is in {out}"
    )
    options = given(data=data, config=config, set=override, out=f"{out}-all")
    options += [] if start is None else ["--from", start]
    suggest((["train", *options], f"a model to use, of the clips of every {by}"))
