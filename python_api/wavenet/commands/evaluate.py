"""`wavenet evaluate`: how good a model is, on recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavenet.commands.common import (
    Data,
    Device,
    Run,
    Split,
    console,
    given,
    progress,
    require_folder,
    say,
    suggest,
)

if TYPE_CHECKING:
    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow

EVENT_COLUMNS = ("event_f1", "event_precision", "event_recall", "segment_f1")


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

    Of a model of tags mean average precision, AUC and F1; of events event-based and segment-based
    F1 of whole recordings, too. Of a generative model bits a sample, of
    all clips and of each speaker's.

    Clips longer than the run's data.max_seconds are cropped at their centre, as in its validation,
    but of events; `wavenet predict` hears recordings whole.

    Example: wavenet evaluate runs/mine --split test --snr 20,10,5,0
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.inference.evaluate import choose_clips, classify, measure
    from wavenet.classifier.inference.events import hear, measure_events
    from wavenet.classifier.inference.noise_curve import measure_noise_curve, parse_snrs
    from wavenet.classifier.inference.thresholds import rejection
    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.classifier.run_folder import (
        CONFUSION_NAME,
        CURVES_NAME,
        METRICS_NAME,
        NOISE_NAME,
        NOISE_PICTURE_NAME,
        REPORT_NAME,
        folder_of_others,
    )
    from wavenet.errors import ConfigError
    from wavenet.files import replace_file
    from wavenet.loading import load_trained

    snrs = parse_snrs(snr) if snr is not None else []
    model = load_trained(run, device)
    if out is None and not run.is_dir():
        raise ConfigError(f"{run} is not a folder to write results into; give --out")
    # The run's own figures are about its own clips.
    folder = out or (run if data is None else folder_of_others(run, data))
    require_folder(folder)
    if not isinstance(model, WaveNetClassifier):
        if snrs:
            raise ConfigError("--snr is given; it is of classifiers, and this model makes sound")
        _likelihood(run, model, data, split, folder)
        return
    chosen = choose_clips(run, model.config, data, split)
    settings, longest = (model, chosen.clips, chosen.cache), chosen.max_samples
    with progress("listening") as heard:
        logits, targets = classify(*settings, max_samples=longest, progress=heard)
    config, metrics = model.config, measure(model.config, logits, targets)
    content = {**chosen.description, **metrics.as_dict()}
    rejected = None
    if not config.tags and any(config.thresholds):
        rejected = rejection(config, logits, targets)
        content["rejection"] = vars(rejected)
    events = None
    if config.events:
        events = measure_events(config, hear(*settings))
        content["events"] = events.as_dict()
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / METRICS_NAME, json.dumps(content, indent=1))
    picture = CURVES_NAME if config.tags else CONFUSION_NAME
    replace_file(folder / picture, metrics.picture())
    if snrs:
        with progress("listening in noise") as heard:
            curve = measure_noise_curve(
                *settings, snrs, clean=metrics, max_samples=longest, progress=heard
            )
        content = {**chosen.description, **curve.as_dict()}
        replace_file(folder / NOISE_NAME, json.dumps(content, indent=1))
        replace_file(folder / NOISE_PICTURE_NAME, curve.picture())

    columns = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if config.tags:
        columns = {"average_precision": "AP", "auc": "AUC", **columns, "threshold": "threshold"}
    table = Table("class", *columns.values(), "clips")
    for row in metrics.per_class:
        figures = (f"{row[name]:.3f}" for name in columns)
        table.add_row(escape(row["label"]), *figures, str(row["support"]))
    console.print(table)
    for reason in chosen.skipped:
        say(f"skipped: {reason}")
    for line in chosen.remarks():
        say(line)
    say(
        f"{chosen.split}: {metrics.summary()} on {metrics.clips} clips; "
        f"{METRICS_NAME} and {picture} are in {folder}"
    )
    if events is not None:
        table = Table("events of", "F1", "precision", "recall", "F1 of seconds", "known", "found")
        for row in events.per_class:
            figures = (f"{row[name]:.3f}" for name in EVENT_COLUMNS)
            table.add_row(escape(row["label"]), *figures, str(row["known"]), str(row["found"]))
        console.print(table)
        say(events.summary())
    if rejected is not None:
        say(rejected.summary())
    if snrs:
        for level, noisy in curve.noisy.items():
            name, value = curve.headline(noisy)
            say(f"white noise at {level:g} dB: {name} {value:.2%}")
        say(f"{NOISE_NAME} and {NOISE_PICTURE_NAME} are in {folder}")
    page = None if run.is_dir() else folder / REPORT_NAME
    report = ["report", run, *given(data=data, split=split, out=page)]
    suggest(
        (report, "all of it as one page, with the worst mistakes to listen to"),
        (["predict", run, "FILE_OR_FOLDER"], "what other recordings are"),
    )


def _likelihood(
    run: Path, model: WaveNet | WaveGlow, data: Path | None, split: str | None, folder: Path
) -> None:
    """Bits a sample of a generative model."""
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.inference.evaluate import choose_clips
    from wavenet.classifier.inference.likelihood import likelihood
    from wavenet.classifier.run_folder import METRICS_NAME
    from wavenet.commands.sounds import suggest_sound
    from wavenet.files import replace_file

    chosen = choose_clips(run, model.config, data, split)
    with progress("listening", len(chosen.clips)) as heard:
        found = likelihood(
            model, chosen.clips, chosen.cache, max_samples=chosen.max_samples, progress=heard
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
    suggest_sound(run, model.config)
