"""`wavenet demo-app`: a local web page to try models in."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import Device, say


def demo_app(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of trained models; each gets a tab."),
    ],
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="By default the first free one from 7860 on."),
    ] = None,
    window: Annotated[float, typer.Option(min=0.1, max=10, help="Seconds a label is about.")] = 1.0,
    hop: Annotated[float, typer.Option(min=0.05, max=5, help="Seconds between labels.")] = 0.25,
    device: Device = "cpu",
) -> None:
    r"""Serve a web page: drop a recording or record one, see its labels over time and the top 5.

    A model that makes sound makes some there, by a speaker and seed, of a tune, or of a recording.

    It needs gradio: pip install 'wavenet-kernels\[app]'. Recordings stay on this machine. Ctrl-C
    ends it.

    Example: wavenet demo-app runs/mine runs/voices --port 8080
    """
    # Gradio asks its makers for the newest version otherwise.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

    from wavenet.classifier.app import build, launch
    from wavenet.errors import DataError
    from wavenet.loading import load_trained

    try:
        socket.getaddrinfo(host, port)
    except OSError as error:
        raise DataError(
            f"--host is {host!r} ({error.strerror}); accepted is a name or address of this machine"
        ) from None
    models = {}
    for run in runs:
        name = run.resolve().name
        if name in models:
            raise DataError(f"two of the runs are called {name}; accepted are different names")
        models[name] = load_trained(run, device)
    page = build(models, window, hop)
    address = launch(page, host=host, port=port, block=False)
    say(f"open {address} in a browser; Ctrl-C ends it")
    page.block_thread()
