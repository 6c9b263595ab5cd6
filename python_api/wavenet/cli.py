"""The command line. Here commands are only registered; each is a file of wavenet.commands."""

from __future__ import annotations

import inspect
import io
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from wavenet.errors import UserError, extra

if TYPE_CHECKING:
    import typer


GREETING = """\
wavenet: from a folder of recordings to a model that knows them, in five commands.

  wavenet synth sounds/                        recordings to try it with (or take your own:
                                               a folder with a sub-folder for each class)
  wavenet train --data sounds/                 train a model of them, in runs/sounds
  wavenet evaluate runs/sounds                 how good is it?
  wavenet predict runs/sounds FILE_OR_FOLDER   what are these recordings?
  wavenet info runs/sounds                     what is this model?

wavenet --help names all commands, wavenet COMMAND --help explains one, with an example;
wavenet doctor says what is slow or missing on this machine."""


def main() -> None:
    """Run the command line; what is wrong with the user's input is said in one sentence."""
    warnings.formatwarning = lambda message, *_, **__: _as_a_line(message)
    sys.stdout, sys.stderr = (
        output or open(os.devnull, "w", encoding="utf-8")  # one that is closed (`>&-`)
        for output in (sys.stdout, sys.stderr)
    )
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):  # a label may have what a terminal can't show
            output.reconfigure(errors="backslashreplace")
    if len(sys.argv) == 1:
        try:
            print(GREETING, flush=True)
        except BrokenPipeError:  # whoever reads it has seen enough; Python would flush once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    try:
        application()()
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        if os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first one speaks
            _print_error(_sentence(error))
        sys.exit(2)


def _version() -> str:
    """That of what is installed, without loading torch; else that of the sources."""
    from importlib import metadata

    try:
        return metadata.version("wavenet-kernels")
    except metadata.PackageNotFoundError:
        from wavenet_kernels import __version__

        return __version__


def application() -> typer.Typer:
    """All commands; `wavenet COMMAND --help` explains one. None of them loads torch before it runs.

    Raises:
        MissingPackageError: the packages of the extra "classifier" are not installed.
    """
    with extra("classifier"):
        import typer
        from typer.core import TyperCommand

        from wavenet.commands.augment_preview import augment_preview
        from wavenet.commands.cache import cache
        from wavenet.commands.check_data import check_data
        from wavenet.commands.convert import convert
        from wavenet.commands.cross_validate import cross_validate
        from wavenet.commands.demo_app import demo_app
        from wavenet.commands.doctor import doctor
        from wavenet.commands.embed import embed
        from wavenet.commands.evaluate import evaluate
        from wavenet.commands.export import export
        from wavenet.commands.fit_head import fit_head
        from wavenet.commands.generate import generate
        from wavenet.commands.info import info
        from wavenet.commands.mel import mel
        from wavenet.commands.predict import predict
        from wavenet.commands.prepare import prepare
        from wavenet.commands.report import report
        from wavenet.commands.stream import stream
        from wavenet.commands.sweep import sweep
        from wavenet.commands.synth import synth
        from wavenet.commands.timeline import timeline
        from wavenet.commands.train import train
        from wavenet.commands.vocode import vocode

    class Command(TyperCommand):
        """A switch takes no value, and its help names none."""

        def get_params(self, ctx: Any) -> list[Any]:
            params = super().get_params(ctx)
            for param in params:
                if getattr(param, "is_flag", False):
                    param.metavar = ""
            return params

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def version(wanted: bool) -> None:
        if wanted:
            print(_version())
            raise typer.Exit

    @app.callback()
    def options(
        _: bool = typer.Option(
            False, "--version", callback=version, is_eager=True, help="Print the version and exit."
        ),
    ) -> None:
        """Train and use WaveNet audio classifiers."""

    before_training = (synth, check_data, prepare, augment_preview, cache)
    of_a_run = (
        evaluate,
        report,
        info,
        predict,
        stream,
        timeline,
        embed,
        fit_head,
        export,
        demo_app,
    )
    of_sound = (generate, vocode, mel, convert)
    for command in (*before_training, train, cross_validate, sweep, *of_a_run, *of_sound, doctor):
        app.command(cls=Command, help=_paragraphs(command.__doc__ or ""))(command)
    return app


def _paragraphs(docstring: str) -> str:
    """Each on a line of its own, which the terminal breaks where its width asks for it."""
    parts = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)


def _as_a_line(message: Warning | str) -> str:
    """A warning without the line of the program that it came from."""
    return f"warning: {message}\n"


def _is_for_the_user(error: Exception) -> bool:
    """Whether it is about the user's input or machine; others are ours, with a traceback."""
    if isinstance(error, (UserError, OSError)):
        return True
    # An error of a module that nobody has imported has not been raised.
    of_others = (("safetensors", "SafetensorError"), ("wavenet_kernels", "BackendUnavailableError"))
    return any(
        isinstance(error, getattr(sys.modules[module], name))
        for module, name in of_others
        if module in sys.modules
    )


def _sentence(error: Exception) -> str:
    """The error's own; the system's errors as `file: what is wrong`, without their number."""
    if isinstance(error, OSError) and error.strerror:
        named = "" if error.filename is None else f"{error.filename}: "
        return f"{named}{error.strerror}"
    return str(error)


def _print_error(sentence: str) -> None:
    line = f"error: {sentence}"
    try:
        from rich.console import Console
    except ImportError:  # which may be what the sentence is about
        print(line, file=sys.stderr)
    else:
        Console(stderr=True).print(line, style="red", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
