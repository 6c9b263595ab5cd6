"""`wavenet convert`: checkpoints of others into saved models, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wavenet.commands.common import require_folder, say, suggest

CHECKPOINTS = (".pth", ".pt")


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint of wavenet_vocoder, WaveGlow, nv-wavenet or NAM, or a saved model."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the model; of a saved model the .pth or .pt to write.")
    ],
    hparams: Annotated[
        Path | None,
        typer.Option(help="Of wavenet_vocoder: its JSON; by default hparams.json beside it."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="name=value that no file says or is to be other: stacks=4, hop=256, ..."
        ),
    ] = None,
) -> None:
    """A checkpoint of others as a saved model, or a saved model as a checkpoint of theirs.

    Nothing in a checkpoint is run. What it is, and what had to be assumed, is said.

    Example: wavenet convert waveglow_256channels.pt --out runs/glow

    Or: wavenet convert checkpoint_step001000000_ema.pth --hparams mol.json --out runs/mol

    Or: wavenet convert clean.nam --out runs/clean

    And back: wavenet convert runs/glow --out waveglow.pt
    """
    from wavenet.convert import import_checkpoint, to_vocoder, to_waveglow
    from wavenet.errors import ConfigError
    from wavenet.generation.model import WaveNet
    from wavenet.saved import write_model

    if source.is_dir():
        if hparams is not None or option:
            raise ConfigError("--hparams and --set are of checkpoints of others; this is a folder")
        if out.is_dir():
            raise ConfigError(f"--out is {out}, a folder; accepted is the file to write")
        if out.suffix.lower() not in CHECKPOINTS:
            accepted = " or ".join(CHECKPOINTS)
            raise ConfigError(f"--out is {out}; accepted of a saved model is a file {accepted}")
        from wavenet.commands.sounds import load_generator

        model = load_generator(source, "cpu")
        require_folder(out.parent)
        out.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(model, WaveNet):
            to_vocoder(model, out)
            say(f"{out} is written, of wavenet_vocoder's newest layout, and hparams.json beside it")
        else:
            to_waveglow(model, out)
            say(f"{out} is written, of WaveGlow's newest layout")
        return
    options = _options(option or [])
    require_folder(out)
    try:
        imported = import_checkpoint(source, hparams, **options)
    except TypeError as error:
        raise ConfigError(f"--set: {error}") from None
    out.mkdir(parents=True, exist_ok=True)
    write_model(imported.model, out)
    say(f"{source}: {imported.found}")
    for assumption in imported.assumed:
        say(f"assumed: {assumption}")
    say(f"the model is in {out}")
    suggest((["info", out], "what it is, and how fast it is here"))


def _options(given: list[str]) -> dict[str, Any]:
    from wavenet.errors import ConfigError, extra

    with extra("classifier"):
        import yaml

    options = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not (equals and name):
            raise ConfigError(f"--set {item!r}: accepted is name=value")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {item!r}: {value!r} is not a YAML value") from None
    return options
