"""What the commands share: where they print, and the arguments that most of them take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# Into a pipe or a file, tables are not squeezed into the 80 columns that rich assumes.
console = Console() if sys.stdout.isatty() else Console(width=200)

Run = Annotated[Path, typer.Argument(help="Folder of a trained model (a run folder is one).")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Data = Annotated[
    Path | None, typer.Option(help="Labelled recordings; by default those of the run.")
]
Split = Annotated[
    str | None,
    typer.Option(help="train, validation, test or all; by default test if there is one."),
]


def say(line: str) -> None:
    """A line of plain text: brackets in names are no markup."""
    console.print(line, highlight=False, markup=False)


def warn(line: str) -> None:
    """The same on the standard error, where it mixes with no result."""
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)
