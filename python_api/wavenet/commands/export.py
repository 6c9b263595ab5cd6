"""`wavenet export`: the model as files that run without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavenet.commands.common import Data, Run, Split, console, require_folder, say, warn

if TYPE_CHECKING:
    from wavenet.classifier.inference.evaluate import Classify
    from wavenet.generation.model import WaveNet
    from wavenet.networks.amplifier import Amplifier


# Other programs take the files.
NEXT = "next: docs/deployment.md of the sources  # how each of these files is run"


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
    weights: Annotated[
        str, typer.Option(help="Of model.wavenet: float32, bfloat16 or int8 (stack and head).")
    ] = "float32",
    data: Data = None,
    split: Split = None,
    speaker: Annotated[
        str | None, typer.Option(help="Whom the file of a generative model speaks as.")
    ] = None,
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
    Of a generative WaveNet and of an amplifier it is the only one.

    Example: wavenet export runs/mine --out exported/ --format onnx --threads 1
    """
    import torch
    from rich.table import Table

    from wavenet.classifier.inference.evaluate import choose_clips, classify_clips, measure
    from wavenet.classifier.inference.export import export_model
    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.classifier.run_folder import CLIPS_NAME
    from wavenet.errors import DataError
    from wavenet.files import replace_file
    from wavenet.generation.model import WaveNet
    from wavenet.loading import load_model
    from wavenet.networks.amplifier import Amplifier

    require_folder(out)
    if threads is not None:
        torch.set_num_threads(threads)
    model = load_model(run)
    if isinstance(model, WaveNet | Amplifier):
        return _export_runtime(model, out, formats, weights, speaker)
    if speaker is not None:
        raise DataError("speaker is given; accepted is one of a generative model")
    if not isinstance(model, WaveNetClassifier):
        raise DataError(
            f"{run} is a {type(model).__name__}; accepted are classifiers, WaveNets and amplifiers"
        )
    chosen = None
    if data is not None or split is not None:
        chosen = choose_clips(run, model.config, data, split)
    elif (run / CLIPS_NAME).is_file():
        try:
            chosen = choose_clips(run, model.config, None, None)
        except DataError as error:  # the model may be here without what it was trained on
            warn(f"accuracy is not measured: {error}")
    config = model.config

    def accuracy(classify: Classify) -> float:
        assert chosen is not None
        classified = classify_clips(
            classify, config, chosen.clips, chosen.cache, max_samples=chosen.max_samples
        )
        return measure(config, *classified).figures["map" if config.tags else "accuracy"]

    exported = export_model(
        model,
        formats,
        int8=int8,
        weights=weights,
        seconds=seconds,
        accuracy=accuracy if chosen else None,
    )
    out.mkdir(parents=True, exist_ok=True)
    figure = "mAP" if config.tags else "accuracy"
    table = Table("file", "MB", "logits differ by", f"ms for {seconds:g} s", figure)
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
        say(f"{figure} on {len(chosen.clips)} clips ({chosen.split}) of {chosen.source}")
    names = ", ".join(one.name for one in exported if one.content)
    say(f"{names} are in {out}; timed on {torch.get_num_threads()} thread(s)")
    say(NEXT)


def _export_runtime(
    model: WaveNet | Amplifier,
    out: Path,
    formats: list[str] | None,
    weights: str,
    speaker: str | None,
) -> None:
    from wavenet.errors import DataError
    from wavenet.files import replace_file
    from wavenet.generation.runtime import generator_file
    from wavenet.networks.amplifier import Amplifier
    from wavenet.networks.runtime import amplifier_file

    what = "an amplifier" if isinstance(model, Amplifier) else "a generative model"
    if strange := sorted(set(formats or ()) - {"runtime"}):
        raise DataError(f"format is {strange[0]!r}; accepted of {what} is runtime")
    if weights != "float32":
        raise DataError(f"weights is {weights!r}; accepted of {what} is float32")
    if isinstance(model, Amplifier) and speaker is not None:
        raise DataError("speaker is given; accepted is one of a generative model")
    try:
        if isinstance(model, Amplifier):
            content = amplifier_file(model)
        else:
            content = generator_file(model, speaker)
    except ValueError as error:
        raise DataError(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / "model.wavenet", content)
    say(f"model.wavenet, {len(content) / 1e6:.2f} MB, is in {out}")
    say(NEXT)
