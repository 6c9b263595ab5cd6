"""`wavenet evaluate`: how good a model is, on recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavenet.commands.common import Data, Device, Run, Split, console, require_folder, say

if TYPE_CHECKING:
    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow


def evaluate(
    run: Run,
    data: Data = None,
    split: Split = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for metrics.json and confusion_matrix.png; by default the run's own, with "
            "--data others/NAME in it."
        ),
    ] = None,
    snr: Annotated[
        str | None,
        typer.Option(
            help="Also with white noise at these signal-to-noise ratios in dB; writes "
            "noise_curve.json and noise_curve.png."
        ),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Accuracy, macro-F1, per-class table and confusion matrix on labelled recordings.

    Of a generative model bits a sample, of all clips and of each speaker's.

    Clips longer than the run's data.max_seconds are cropped at their centre, as in its validation;
    `wavenet predict` hears recordings whole.

    Example: wavenet evaluate runs/mine --split test --snr 20,10,5,0
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.inference import draw_confusion
    from wavenet.classifier.inference import evaluate as evaluate_model
    from wavenet.classifier.inference.evaluate import choose_clips
    from wavenet.classifier.inference.noise_curve import measure_noise_curve, parse_snrs
    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.classifier.run_folder import (
        CONFUSION_NAME,
        METRICS_NAME,
        NOISE_NAME,
        NOISE_PICTURE_NAME,
        OTHERS_NAME,
    )
    from wavenet.errors import ConfigError
    from wavenet.files import replace_file
    from wavenet.loading import load_model

    snrs = parse_snrs(snr) if snr is not None else []
    model = load_model(run, device)
    if out is None and not run.is_dir():
        raise ConfigError(f"{run} is not a folder to write results into; give --out")
    # The run's own figures are about its own clips.
    folder = out or (run if data is None else run / OTHERS_NAME / data.resolve().stem)
    require_folder(folder)
    if not isinstance(model, WaveNetClassifier):
        if snrs:
            raise ConfigError("--snr is given; it is of classifiers, and this model makes sound")
        _likelihood(run, model, data, split, folder)
        return
    chosen = choose_clips(run, model.config, data, split)
    settings = (model, chosen.clips, chosen.cache)
    if snrs:
        curve = measure_noise_curve(*settings, snrs, max_samples=chosen.max_samples)
        metrics = curve.clean
    else:
        metrics = evaluate_model(*settings, max_samples=chosen.max_samples)
    folder.mkdir(parents=True, exist_ok=True)
    content = {**chosen.description, **metrics.as_dict()}
    replace_file(folder / METRICS_NAME, json.dumps(content, indent=1))
    replace_file(folder / CONFUSION_NAME, draw_confusion(metrics))

    if snrs:
        content = {**chosen.description, **curve.as_dict()}
        replace_file(folder / NOISE_NAME, json.dumps(content, indent=1))
        replace_file(folder / NOISE_PICTURE_NAME, curve.picture())

    table = Table("class", "precision", "recall", "F1", "clips")
    for row in metrics.per_class:
        figures = (f"{row[name]:.3f}" for name in ("precision", "recall", "f1"))
        table.add_row(escape(row["label"]), *figures, str(row["support"]))
    console.print(table)
    for reason in chosen.skipped:
        say(f"skipped: {reason}")
    for line in chosen.remarks():
        say(line)
    say(
        f"{chosen.split}: accuracy {metrics.accuracy:.2%}, macro-F1 {metrics.macro_f1:.4f}, "
        f"loss {metrics.loss:.4f} on {metrics.clips} clips; "
        f"{METRICS_NAME} and {CONFUSION_NAME} are in {folder}"
    )
    if snrs:
        for level, noisy in curve.noisy.items():
            say(f"white noise at {level:g} dB: accuracy {noisy.accuracy:.2%}")
        say(f"{NOISE_NAME} and {NOISE_PICTURE_NAME} are in {folder}")


def _likelihood(
    run: Path, model: WaveNet | WaveGlow, data: Path | None, split: str | None, folder: Path
) -> None:
    """Bits a sample of a generative model."""
    from rich.markup import escape
    from rich.progress import Progress
    from rich.table import Table

    from wavenet.classifier.inference.evaluate import choose_clips
    from wavenet.classifier.inference.likelihood import likelihood
    from wavenet.classifier.run_folder import METRICS_NAME
    from wavenet.files import replace_file

    chosen = choose_clips(run, model.config, data, split)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("listening", total=len(chosen.clips))
        found = likelihood(
            model,
            chosen.clips,
            chosen.cache,
            max_samples=chosen.max_samples,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    bits = model.bits_of(found.loss)
    speakers = {}
    for name in getattr(model.config, "speakers", ()):
        rows = [i for i, clip in enumerate(chosen.clips) if clip.label == name]
        if rows:
            part = type(found)(found.nats[rows], found.samples[rows])
            speakers[name] = {"bits_per_sample": model.bits_of(part.loss), "clips": len(rows)}
    folder.mkdir(parents=True, exist_ok=True)
    samples = int(found.samples.sum())
    content = {
        **chosen.description,
        **{"bits_per_sample": bits, "counted": model.bits_counted, "loss": found.loss},
        **{"clips": len(chosen.clips), "samples": samples, "speakers": speakers},
    }
    replace_file(folder / METRICS_NAME, json.dumps(content, indent=1))
    if speakers:
        table = Table("speaker", "bits a sample", "clips")
        for name, row in speakers.items():
            table.add_row(escape(name), f"{row['bits_per_sample']:.3f}", str(row["clips"]))
        console.print(table)
    for line in (*(f"skipped: {reason}" for reason in chosen.skipped), *chosen.remarks()):
        say(line)
    say(
        f"{chosen.split}: {bits:.4f} bits a sample ({model.bits_counted}), loss {found.loss:.4f}, "
        f"on {samples:,} samples of {len(chosen.clips)} clips; {METRICS_NAME} is in {folder}"
    )
