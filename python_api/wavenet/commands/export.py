"""`wavenet export`: the model as files that run without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavenet.commands.common import Data, Run, Split, console, require_folder, say, warn

if TYPE_CHECKING:
    from wavenet.classifier.inference.evaluate import Classify


def export(
    run: Run,
    out: Annotated[
        Path,
        typer.Option(help="Folder for model.onnx, model.int8.onnx, model.pt2, model.wavenet."),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="onnx, torch or runtime; may be repeated. Default: all."),
    ] = None,
    int8: Annotated[bool, typer.Option(help="Beside the ONNX file, one in 8 bits.")] = True,
    data: Data = None,
    split: Split = None,
    seconds: Annotated[float, typer.Option(help="Length of the clip that is timed.")] = 1.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads to time with; default: torch's choice.")
    ] = None,
) -> None:
    """Write the model for ONNX runtimes, torch.export and the C library, and compare the files.

    A file is written only if its logits agree with PyTorch's to 1e-4; int8 is not expected to, its
    accuracy stands beside the others'. Sizes and times (one clip, medians) are printed. Accuracy is
    measured on the run's own test clips where they are there, or on --data. The C library's file,
    model.wavenet (csrc/runtime in the sources, docs/deployment.md), is written and not run here.

    Example: wavenet export runs/mine --out exported/ --format onnx --threads 1
    """
    import torch
    from rich.table import Table

    from wavenet.classifier.inference import load_model
    from wavenet.classifier.inference.evaluate import choose_clips, classify_clips, metrics_of
    from wavenet.classifier.inference.export import export_model
    from wavenet.classifier.run_folder import CLIPS_NAME
    from wavenet.errors import DataError
    from wavenet.files import replace_file

    require_folder(out)
    if threads is not None:
        torch.set_num_threads(threads)
    model = load_model(run)
    chosen = None
    if data is not None or split is not None:
        chosen = choose_clips(run, model.config, data, split)
    elif (run / CLIPS_NAME).is_file():
        try:
            chosen = choose_clips(run, model.config, None, None)
        except DataError as error:  # the model may be here without what it was trained on
            warn(f"accuracy is not measured: {error}")
    labels = model.config.labels

    def accuracy(classify: Classify) -> float:
        assert chosen is not None
        classified = classify_clips(
            classify, model.config, chosen.clips, chosen.cache, max_samples=chosen.max_samples
        )
        return metrics_of(*classified, labels).accuracy

    exported = export_model(
        model,
        formats,
        int8=int8,
        seconds=seconds,
        accuracy=accuracy if chosen else None,
    )
    out.mkdir(parents=True, exist_ok=True)
    table = Table("file", "MB", "logits differ by", f"ms for {seconds:g} s", "accuracy")
    for one in exported:
        if one.content:
            replace_file(out / one.name, one.content)
        table.add_row(
            one.name,
            f"{one.size / 1e6:.2f}",
            "-" if one.difference is None else f"{one.difference:.1e}",
            "-" if one.latency_ms is None else f"{one.latency_ms:.2f}",
            "-" if one.accuracy is None else f"{one.accuracy:.2%}",
        )
    console.print(table)
    if chosen is not None:
        say(f"accuracy on {len(chosen.clips)} clips ({chosen.split}) of {chosen.source}")
    names = ", ".join(one.name for one in exported if one.content)
    say(f"{names} are in {out}; timed on {torch.get_num_threads()} thread(s)")
