"""`wavenet export`: the model as files that run without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from wavenet.commands.common import Data, Run, Split, console, say

if TYPE_CHECKING:
    from wavenet.inference.evaluate import Classify

FORMATS = ("onnx", "torch")


def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder for model.onnx, model.int8.onnx, model.pt2.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="onnx or torch; may be given twice. Default: both."),
    ] = None,
    int8: Annotated[bool, typer.Option(help="Beside the ONNX file, one in 8 bits.")] = True,
    data: Data = None,
    split: Split = None,
    seconds: Annotated[float, typer.Option(help="Length of the clip that is timed.")] = 1.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads to time with; default: torch's choice.")
    ] = None,
) -> None:
    """Write the model for ONNX runtimes and for torch.export, and compare the files with it.

    A file is written only if its logits agree with PyTorch's to 1e-4; int8 is not expected to, its
    accuracy stands beside the others'. Sizes and times (one clip, medians) are printed. Accuracy is
    measured on the run's own test clips, or on --data.

    Example: wavenet export runs/mine --out exported/ --format onnx --threads 1
    """
    import torch

    from wavenet.data import DataError
    from wavenet.files import replace_file
    from wavenet.inference import export as exporting
    from wavenet.inference import load_model
    from wavenet.inference.evaluate import classify_clips, metrics_of
    from wavenet.training.evaluation import clips_to_evaluate
    from wavenet.training.loop import CLIPS_NAME

    wanted = formats or list(FORMATS)
    if strange := sorted(set(wanted) - set(FORMATS)):
        raise DataError(f"--format is {strange[0]!r}; accepted are {', '.join(FORMATS)}")
    if not seconds > 0:
        raise DataError(f"--seconds is {seconds}; accepted is more than 0")
    if threads is not None:
        torch.set_num_threads(threads)
    model = load_model(run)
    chosen = None
    if data is not None or (run / CLIPS_NAME).is_file():
        chosen = clips_to_evaluate(run, model.config, data, split)
    program = exporting.plain_program(model)

    files: dict[str, bytes] = {}
    classifiers: dict[str, Classify] = {"PyTorch": model}
    if "onnx" in wanted:
        files["model.onnx"] = exporting.onnx_file(program, model)
        if int8:
            files["model.int8.onnx"] = exporting.quantised(files["model.onnx"])
    if "torch" in wanted:
        files["model.pt2"] = exporting.torch_file(program, model)
        classifiers["model.pt2"] = exporting.torch_classifier(files["model.pt2"])
    for name, content in files.items():
        if name.endswith(".onnx"):
            classifiers[name] = exporting.onnx_classifier(content)

    sizes = {"PyTorch": _weight_bytes(model), **{name: len(files[name]) for name in files}}
    samples = max(1, round(seconds * model.config.sample_rate))
    table = Table("file", "MB", "logits differ by", f"ms for {seconds:g} s", "accuracy")
    for name, size in sizes.items():
        classify = classifiers[name]
        difference = exporting.largest_difference(model, classify)
        if name in ("model.onnx", "model.pt2"):
            exporting.require_parity(name, difference)
        accuracy = "-"
        if chosen is not None:
            logits, targets = classify_clips(
                classify,
                model.config.labels,
                chosen.clips,
                chosen.cache,
                max_samples=chosen.max_samples,
            )
            accuracy = f"{metrics_of(logits, targets, model.config.labels).accuracy:.2%}"
        table.add_row(
            name,
            f"{size / 1e6:.2f}",
            f"{difference:.1e}",
            f"{exporting.latency_ms(classify, samples):.2f}",
            accuracy,
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        replace_file(out / name, content)
    console.print(table)
    if chosen is not None:
        say(f"accuracy on {len(chosen.clips)} clips ({chosen.split}) of {chosen.source}")
    say(f"{', '.join(files)} are in {out}; timed on {torch.get_num_threads()} thread(s)")


def _weight_bytes(model: object) -> int:
    from torch import nn

    assert isinstance(model, nn.Module)
    return sum(p.numel() * p.element_size() for p in model.parameters())
