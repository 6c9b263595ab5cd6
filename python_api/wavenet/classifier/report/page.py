"""What a report shows, gathered from a run folder and one evaluation, and the page made of it."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import torch

import wavenet_kernels
from wavenet.classifier.data import ClipDataset, labels_of
from wavenet.classifier.inference import StreamingClassifier
from wavenet.classifier.inference.calibration import measure_calibration
from wavenet.classifier.inference.evaluate import EvaluationClips, classify_clips, measure
from wavenet.classifier.inference.events import hear, measure_events
from wavenet.classifier.inference.export import measure_latency_ms
from wavenet.classifier.inference.intervals import as_text
from wavenet.classifier.inference.metrics import Metrics
from wavenet.classifier.inference.noise_curve import measure_noise_curve
from wavenet.classifier.inference.tag_metrics import TagMetrics
from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.report.mistakes import (
    data_uri,
    mistakes_of_classes,
    mistakes_of_tags,
    worst_mistakes,
)
from wavenet.classifier.run_folder import (
    headline,
    rank_epochs,
    read_clips,
    read_config,
    read_history,
)
from wavenet.classifier.training.display import draw_training_curve

SPEED_SECONDS = 5.0
# Of a class, by what they are called in the metrics.
COLUMNS = {"precision": "precision", "recall": "recall", "f1": "F1"}
COLUMNS_OF_TAGS = {"average_precision": "AP", "auc": "AUC", **COLUMNS, "threshold": "threshold"}


def make_report(
    run: Path,
    model: WaveNetClassifier,
    chosen: EvaluationClips,
    *,
    snrs_db: Sequence[float] = (),
    mistakes: int = 12,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The report as HTML that needs no other file and no network.

    Args:
        run: the run folder; what training left in it (metrics.csv, clips.csv) is shown too.
        model: in eval mode, on the CPU.
        chosen: the clips to evaluate on, see `choose_clips`.
        snrs_db: signal-to-noise ratios of the noise curve; none: no curve.
        mistakes: how many to show.
        progress: called with (clips done, clips in all).
    """
    labels = model.config.labels
    logits, targets = classify_clips(
        model, model.config, chosen.clips, chosen.cache, max_samples=chosen.max_samples
    )
    metrics = measure(model.config, logits, targets)
    reliability = measure_calibration(logits, targets)
    dataset = ClipDataset(chosen.clips, labels, chosen.cache, max_samples=chosen.max_samples)
    if isinstance(metrics, TagMetrics):
        found = mistakes_of_tags(metrics)
    else:
        found = mistakes_of_classes(labels, logits, targets)
    curve = None
    if snrs_db:
        curve = measure_noise_curve(
            model,
            chosen.clips,
            chosen.cache,
            snrs_db,
            clean=metrics,
            max_samples=chosen.max_samples,
            progress=progress,
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wavenet.classifier.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        name=run.resolve().name,
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=wavenet_kernels.__version__,
        chosen=chosen,
        data=_data(run, chosen),
        seconds=sum(dataset.lengths()) / model.config.sample_rate,
        metrics=metrics,
        training=_training(run, model),
        tiles=[*_tiles(metrics), *_event_tiles(model, chosen)],
        columns=COLUMNS_OF_TAGS if model.config.tags else COLUMNS,
        picture=data_uri("image/png", metrics.picture()),
        remarks=chosen.remarks(),
        ece=reliability.ece,
        reliability=data_uri("image/png", reliability.picture()),
        mistakes=worst_mistakes(dataset, found[:mistakes]),
        wrong=len(found),
        curve=curve,
        noise_picture=curve and data_uri("image/png", curve.picture()),
        model=_model(model),
        speed=_speed(model),
    )


def _tiles(metrics: Metrics | TagMetrics) -> list[tuple[str, str]]:
    """Figures as texts, with what they are."""
    if isinstance(metrics, TagMetrics):
        figures = metrics.figures
        return [
            (f"{figures['map']:.3f}", f"mAP (micro {figures['micro_map']:.3f})"),
            (f"{figures['auc']:.3f}", "AUC"),
            (f"{figures['macro_f1']:.3f}", f"F1 (micro {figures['micro_f1']:.3f})"),
            (f"{100 * metrics.exact:.2f} %", f"all tags right, {as_text(metrics.interval)}"),
            (f"{metrics.loss:.3f}", "loss, nats"),
        ]
    return [
        (f"{100 * metrics.accuracy:.2f} %", f"accuracy, {as_text(metrics.interval)}"),
        (f"{metrics.macro_f1:.3f}", "macro-F1"),
        (f"{metrics.loss:.3f}", "loss, nats"),
    ]


def _event_tiles(model: WaveNetClassifier, chosen: EvaluationClips) -> list[tuple[str, str]]:
    """The same of events, of whole recordings; none of a model that tells no times."""
    if not model.config.events:
        return []
    figures = measure_events(model.config, hear(model, chosen.clips, chosen.cache)).figures
    return [
        (f"{figures['event_f1']:.3f}", "event-based F1"),
        (f"{figures['segment_f1']:.3f}", "segment-based F1"),
    ]


def _training(run: Path, model: WaveNetClassifier) -> dict[str, Any] | None:
    """How the run went and what was done against overfitting; None where no run is."""
    history = read_history(run)
    config = read_config(run)
    if not history or config is None:
        return None
    settings = config.training
    notes = []
    if settings.init_from:
        notes.append(f"It started from {settings.init_from}.")
    if settings.ema_decay:
        notes.append(
            f"What was evaluated and saved is the moving average of the weights, decay "
            f"{settings.ema_decay:g}."
        )
    best = rank_epochs(history, settings.best_by)[0]
    if settings.patience and len(history) - best["epoch"] >= settings.patience:
        notes.append(
            f"Training stopped early, after {settings.patience} epoch(s) without a better one."
        )
    if weight := model.config.next_sample_weight:
        notes.append(
            f"The training loss has the prediction of the next sample in it, with weight "
            f"{weight:g}; the validation loss has not."
        )
    return {
        "epochs": len(history),
        "best": best,
        "headline": headline(best),
        "curve": data_uri("image/png", draw_training_curve(history)),
        "notes": notes,
        "augmentation": config.augmentation.changed,
        "settings": vars(settings),
    }


def _data(run: Path, chosen: EvaluationClips) -> dict[str, Any]:
    """Clips of each class and split; what was skipped, and why."""
    config = read_config(run)
    of_the_run = read_clips(run, config.data.label_separator if config else "")
    if of_the_run is not None:
        clips, skipped = of_the_run
        counts = Counter((label, str(clip.split)) for clip in clips for label in clip.labels)
    else:
        counts = Counter((label, chosen.split) for clip in chosen.clips for label in clip.labels)
        skipped = chosen.skipped
    splits = [s for s in ("train", "validation", "test", "all") if any(k[1] == s for k in counts)]
    labels = labels_of(chosen.clips) if not counts else sorted({label for label, _ in counts})
    return {
        "of": "this evaluation" if of_the_run is None else "the run",
        "splits": splits,
        "rows": [(label, [counts[label, split] for split in splits]) for label in labels],
        "totals": [sum(counts[label, split] for label in labels) for split in splits],
        "skipped": skipped,
    }


def _model(model: WaveNetClassifier) -> dict[str, Any]:
    parameters = list(model.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "megabytes": sum(p.numel() * p.element_size() for p in parameters) / 1e6,
        "receptive_field": model.receptive_field,
        "receptive_field_ms": model.receptive_field_ms,
        "tags": model.config.tags,
        "config": vars(model.config.architecture),
    }


def _speed(model: WaveNetClassifier) -> dict[str, Any]:
    """Of a clip at once, and of a stream in chunks of 0.1 s, on the threads that torch has."""
    rate = model.config.sample_rate
    samples = round(SPEED_SECONDS * rate)
    listener = StreamingClassifier(model)
    chunks = (torch.rand(samples) - 0.5).split(max(1, rate // 10))
    listener.push(chunks[0])  # the first call makes the buffers
    started = time.perf_counter()
    for chunk in chunks:
        listener.push(chunk)
    return {
        "threads": torch.get_num_threads(),
        "clip_ms": measure_latency_ms(model, rate),
        "stream": SPEED_SECONDS / (time.perf_counter() - started),
    }
