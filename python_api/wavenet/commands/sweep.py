"""`wavenet sweep`: a run for every combination of settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavenet.commands.common import (
    Override,
    console,
    interruptible,
    overrides_of,
    require_folder,
    say,
    suggest,
)

if TYPE_CHECKING:
    from wavenet.classifier.run_config import RunConfig
    from wavenet.classifier.run_folder import Row


def sweep(
    config: Annotated[Path, typer.Argument(help="A YAML file with a section `sweep`.")],
    out: Annotated[Path, typer.Option(help="Folder of all runs, and of sweep.json.")],
    data: Annotated[
        Path | None, typer.Option(help="A folder with a sub-folder per class, or a CSV manifest.")
    ] = None,
    override: Override = None,
) -> None:
    """Train with every combination of lists of settings, and compare what came of them.

    The configuration's section `sweep` has a list for each field that is varied:

    sweep: {training.learning_rate: [1e-3, 3e-3], training.seed: [0, 1, 2]}

    Where training.seed is among them, the table has means and deviations over it. The same command
    goes on where it was interrupted. The figures are those of the validation part: settings that
    were chosen by them are measured on a test part afterwards.

    A run that fails is named, and the others go on.

    Example: wavenet sweep configs/mine.yaml --data recordings/ --out sweeps/rates
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.sweep import SEED, SWEEP_NAME, load_sweep, over_seeds, run_sweep
    from wavenet.classifier.training import train
    from wavenet.errors import ConfigError
    from wavenet.locks import writable_folder

    if (started := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise ConfigError(f"WORLD_SIZE is {started}; accepted is 1: a sweep is one process")
    require_folder(out)
    points = load_sweep(config, overrides_of(override, data))

    def run(settings: RunConfig, folder: Path) -> Row:
        return train(settings, folder, resume=True, console=console).best

    def announce(number: int, point: object) -> None:
        name = points[number - 1].name
        console.print(f"{name}, {number} of {len(points)}", style="bold", markup=False)

    with interruptible("the same command"), writable_folder(out):
        outcomes = run_sweep(points, out, run, announce)
    groups = over_seeds(outcomes, points[0].config)
    table = Table(*groups[0].settings, f"validation {groups[0].figure}", "runs")
    for group in groups:
        figure = "-" if group.mean is None else f"{group.mean:.4f}"
        if group.runs - group.failed > 1:
            figure += f" +- {group.standard_deviation:.4f}"
        runs = f"{group.runs}" + (f", {group.failed} failed" if group.failed else "")
        values = (escape(str(value)) for value in group.settings.values())
        table.add_row(*values, figure, runs)
    console.print(table)
    for outcome in outcomes:
        if outcome.error:
            say(f"{outcome.run}: {outcome.error}")
    say(f"{SWEEP_NAME} is in {out}")
    for outcome in outcomes:
        others = {name: value for name, value in outcome.settings.items() if name != SEED}
        if outcome.best is not None and others == groups[0].settings:
            command = ["evaluate", out / outcome.run]
            return suggest((command, "how good the best settings are, on clips that chose none"))
    raise typer.Exit(2)
