"""What the commands share: where they print, what most of them take, how they are interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from wavenet.configs import names

if TYPE_CHECKING:
    from wavenet.classifier.run_config import RunConfig
    from wavenet.networks.architecture import Architecture

# Of the processes that torchrun starts, the first one speaks.
FIRST = os.environ.get("RANK", "0") == "0"
# Into a pipe or a file lines are whole, whatever their length.
console = Console(width=None if sys.stdout.isatty() else 10_000, quiet=not FIRST)

Run = Annotated[Path, typer.Argument(help="Folder of a trained model (a run folder is one).")]
# Of those that can't be read each says so, and the others are heard.
Recordings = Annotated[list[Path], typer.Argument(help="Files or folders.", readable=False)]
Channel = Annotated[
    int, typer.Option(min=0, help="Which channel is heard, from 1; 0: the mean of all.")
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Config = Annotated[
    Path | None,
    typer.Option(help=f"A YAML file, or the name of one that is here: {', '.join(names())}."),
]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="section.field=value, over the config's.")
]
Start = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MODEL",
        help="Fine-tune this trained model (folder or hf://owner/name); the labels may be others.",
    ),
]
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


def print_json(content: dict[str, object]) -> None:
    """A JSON object on a line; characters that the output has no bytes for are escaped."""
    unicode = sys.stdout.encoding.lower().replace("-", "").startswith("utf")
    print(json.dumps(content, ensure_ascii=not unicode), flush=True)


def warn(line: str) -> None:
    """The same on the standard error, where it mixes with no result."""
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress(what: str, total: float | None = None) -> Iterator[Callable[[float, float], None]]:
    """Shows (done, total) on the standard error, where it mixes with no result."""
    from wavenet.progress import progress as shown

    with shown(Console(stderr=True, quiet=not FIRST), what, total) as report:
        yield report


def suggest(*steps: tuple[Sequence[object], str]) -> None:
    """What to do next: commands, to be pasted, each with what it is for."""
    commands = [f"wavenet {shlex.join(map(str, command))}" for command, _ in steps]
    width = max(map(len, commands))
    for number, (command, (_, purpose)) in enumerate(zip(commands, steps, strict=True)):
        say(f"{'     ' if number else 'next:'} {command:<{width}}  # {purpose}")


def given(**options: object) -> list[object]:
    """Options that are not None, as words of a next command; of a list each item is one's value."""
    words: list[object] = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            words += [] if one is None else [f"--{name.replace('_', '-')}", one]
    return words


def require_folder(out: Path) -> None:
    """Raise DataError where --out can't be a folder: said before the work, not after it."""
    from wavenet.errors import DataError

    first = next((path for path in (out, *out.parents) if path.exists()), out)
    if first.exists() and not first.is_dir():
        raise DataError(
            f"--out is {out}, but {first} is a file; accepted is a folder, also a new one"
        )
    if first.exists() and not os.access(first, os.W_OK | os.X_OK):
        raise DataError(f"{first} can't be written to; accepted is an --out that can")


def require_file(out: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise DataError where --out can't be a file, of one of the suffixes if any are named."""
    from wavenet.errors import DataError

    if suffixes and out.suffix.lower() not in suffixes:
        raise DataError(f"--out is {out}; accepted are names in {', '.join(suffixes)}")
    if not out.parent.is_dir():
        raise DataError(f"--out is {out}, but there is no folder {out.parent}")
    if out.is_dir():
        raise DataError(f"--out is {out}, a folder; accepted is a file")
    # A file is replaced by another in its folder, a device or a pipe is written to.
    device = out.exists() and not out.is_file()
    written, mode = (out, os.W_OK) if device else (out.resolve().parent, os.W_OK | os.X_OK)
    if not os.access(written, mode):
        raise DataError(f"{written} can't be written to; accepted is an --out that can")


def overrides_of(override: Sequence[str] | None, data: Path | None) -> list[str]:
    """What --set and --data stand for, over a configuration."""
    of_data = [] if data is None else [f"data.source={json.dumps(str(data.resolve()))}"]
    return [*(override or []), *of_data]


def run_config(
    config: Path | None,
    override: Sequence[str] | None,
    data: Path | None = None,
    start: str | None = None,
) -> RunConfig:
    """The configuration that --config, --set, --data and --from stand for."""
    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.classifier.run_config import load_config
    from wavenet.generation.section import GenerativeModel
    from wavenet.loading import load_trained

    overrides = overrides_of(override, data)
    model: Architecture | GenerativeModel | None = None
    if start is not None:
        source = str(Path(start).resolve()) if Path(start).is_dir() else start
        overrides.append(f"training.init_from={json.dumps(source)}")
        trained = load_trained(source)
        if isinstance(trained, WaveNetClassifier):
            model = trained.config.architecture
        else:
            model = GenerativeModel(trained.config)
    return load_config(config, overrides, model)


def picked(overrides: Sequence[str], data: Path) -> list[str]:
    """Settings that fit the data, but those that are given; they are said."""
    from wavenet.classifier.choosing import beside, choose_settings
    from wavenet.generation.section import GenerativeModel

    given = run_config(None, overrides, data)
    if isinstance(given.model, GenerativeModel):
        return []
    names = {override.partition("=")[0].strip() for override in overrides}
    rate = given.model.sample_rate if "model.sample_rate" in names else None
    chosen = beside(choose_settings(given.data, rate), names)
    if chosen:
        say("picked for these recordings (--set has it otherwise, --config picks nothing):")
    width = max((len(f"{one.field}={one.value}") for one in chosen), default=0)
    reason = ""
    for one in chosen:
        said = "" if one.reason == reason else one.reason  # once, for those that share it
        say(f"  {f'{one.field}={one.value}':<{width}}  {said}".rstrip())
        reason = one.reason
    return [f"{one.field}={json.dumps(one.value)}" for one in chosen]


@contextlib.contextmanager
def interruptible(go_on: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the command with a line on how to go on, and the shell's exit code."""
    from wavenet.errors import TrainingInterrupted

    try:
        yield
    except TrainingInterrupted as stop:
        say(f"interrupted and saved; to go on: {go_on}")
        raise typer.Exit(128 + stop.signal) from None
    except KeyboardInterrupt:
        say(f"interrupted; to go on: {go_on}")
        raise typer.Exit(130) from None


def nobody_reads() -> None:
    """Whoever read the standard output has gone: Python would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
