"""A run's folder: what its files are called, and their readers.

    train.yaml                       the resolved configuration
    backends.json                    which backends computed it, why, and on what device
    clips.csv                        every clip: path, label, split, or why it was skipped
    config.json, model.safetensors   the best model so far
    README.md                        its model card: data, licence, figures, limits
    metrics.csv                      a row of figures for each epoch; also as training_curve.png
    tensorboard/                     the same figures for TensorBoard
    sounds/epoch-0001.wav, .png      of a generative model: what it makes after each epoch
    checkpoints/step-00000123/       what a run goes on from; each is a saved model too

`wavenet evaluate` leaves metrics.json, confusion_matrix.png (of tags precision_recall.png) and, in
noise, noise_curve.json and noise_curve.png, for other recordings in others/NAME (NAME-2 where those
of that name lay elsewhere); `wavenet report`
report.html; a cross-validation left_out.json in the run of each part and cross_validation.json
beside them; `wavenet sweep` sweep.json; `wavenet fit-head` head.json beside a model and clips.csv.
While a run is trained, .lock is there.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wavenet.classifier.data import Clip, PreparedData
from wavenet.classifier.data.clips import Event, with_tags
from wavenet.classifier.data.events import with_events
from wavenet.classifier.run_config import LAST, RunConfig, load_config
from wavenet.saved import MODEL_NAMES

CONFIG_NAME = "train.yaml"
CLIPS_NAME = "clips.csv"
CARD_NAME = "README.md"
BACKENDS_NAME = "backends.json"
HISTORY_NAME = "metrics.csv"
CURVE_NAME = "training_curve.png"
TENSORBOARD_NAME = "tensorboard"
# What a generative model makes after each epoch.
SOUNDS_NAME = "sounds"
# Background that it has synthesised.
MADE_NAME = "background"
CHECKPOINTS_NAME = "checkpoints"
METRICS_NAME = "metrics.json"
CONFUSION_NAME = "confusion_matrix.png"
# The same of clips with several labels.
CURVES_NAME = "precision_recall.png"
NOISE_NAME = "noise_curve.json"
NOISE_PICTURE_NAME = "noise_curve.png"
# Of what `wavenet evaluate --data` was given: a folder for each name.
OTHERS_NAME = "others"
REPORT_NAME = "report.html"
# Not metrics.json: that is what `wavenet evaluate` leaves, about whatever clips it was asked for.
LEFT_OUT_NAME = "left_out.json"
# What `wavenet fit-head` leaves beside a model and clips.csv.
HEAD_NAME = "head.json"
CROSS_VALIDATION_NAME = "cross_validation.json"

Row = dict[str, float]


def folder_of_others(run: Path, source: Path) -> Path:
    """Where figures about other recordings go: those about recordings elsewhere stay."""
    name = source.resolve().stem
    for number in itertools.count(1):
        folder = run / OTHERS_NAME / (name if number == 1 else f"{name}-{number}")
        try:
            said = json.loads((folder / METRICS_NAME).read_text(encoding="utf-8"))["data"]
        except (OSError, ValueError, KeyError, TypeError):
            break
        if Path(said).resolve() == source.resolve():
            break
    return folder


def read_config(run: Path) -> RunConfig | None:
    """The run's configuration; None where there was no training.

    Raises:
        ConfigError: it is damaged.
    """
    path = run / CONFIG_NAME
    return load_config(path) if path.is_file() else None


def clips_table(data: PreparedData, run: Path) -> str:
    """The content of clips.csv: what was trained on is known whatever becomes of the data.

    Paths are absolute, but of what the run has made, which moves with it. Events have a column
    where some clip has them. A resumed run writes the same table.
    """
    made = run.resolve() / MADE_NAME

    def path_of(clip: Clip) -> Path:
        path = clip.path.resolve()
        return path.relative_to(made.parent) if path.is_relative_to(made) else path

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    strong = any(clip.events is not None for clips in vars(data.splits).values() for clip in clips)
    table.writerow(("path", "label", "split", "skipped", "start", "end", *["events"] * strong))
    for split, clips in vars(data.splits).items():
        table.writerows(
            (path_of(clip), clip.label, split, "", *_times(clip), *[_events(clip)] * strong)
            for clip in clips
        )
    for skipped in data.report.skipped:
        clip = skipped.clip
        row = (path_of(clip), clip.label, clip.split or "", skipped.reason, *_times(clip))
        table.writerow((*row, *[""] * strong))
    return text.getvalue()


def _times(clip: Clip) -> tuple[str, str]:
    """Start and end; empty where it is a whole recording."""
    return (f"{clip.start!r}" if clip.start else "", "" if clip.end is None else f"{clip.end!r}")


def _events(clip: Clip) -> str:
    """As JSON; empty where no times are known."""
    return "" if clip.events is None else json.dumps(clip.events, ensure_ascii=False)


def read_clips(run: Path, separator: str = "") -> tuple[list[Clip], list[str]] | None:
    """The run's clips with their splits, and why others were skipped; None where it doesn't say.

    `separator` is that of its `data.label_separator`.
    """
    if not (run / CLIPS_NAME).is_file():
        return None
    with open(run / CLIPS_NAME, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    used = [
        Clip(
            run / row["path"],
            row["label"],
            row["split"],
            start=float(row.get("start") or 0),
            end=float(row["end"]) if row.get("end") else None,
            events=_read_events(row.get("events")),
        )
        for row in rows
        if not row["skipped"]
    ]
    # Where events are notes, the label is another: who plays them.
    used = [
        clip if clip.events is None else replace(with_events(clip, clip.events), label=clip.label)
        for clip in used
    ]
    return with_tags(used, separator), [row["skipped"] for row in rows if row["skipped"]]


def _read_events(text: str | None) -> tuple[Event, ...] | None:
    return tuple(Event(*values) for values in json.loads(text)) if text else None


def history_table(history: Sequence[Row]) -> str:
    """The content of metrics.csv."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(history[0]))
    table.writeheader()
    table.writerows(history)
    return text.getvalue()


def read_history(run: Path) -> list[Row]:
    """The row of each epoch of a run; none where there was no training."""
    if not (run / HISTORY_NAME).is_file():
        return []
    with open(run / HISTORY_NAME, newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def rank_epochs(history: Sequence[Row], by: str = "accuracy") -> list[Row]:
    """Best epoch first: by this figure of validation, then by loss, then the earlier one.

    By "last" it is the newest.
    """
    if by == LAST:
        return sorted(history, key=lambda row: -row["epoch"])

    def key(row: Row) -> tuple[float, float]:
        value = row[f"validation_{by}"]
        return value if by == "loss" else -value, row["validation_loss"]

    return sorted(history, key=key)


def headline(row: Row) -> str:
    """What an epoch's validation is judged by, for people."""
    if "validation_bits" in row:
        return f"validation {row['validation_bits']:.3f} bits a sample"
    if "validation_segment_f1" in row:
        return f"validation segment-based F1 {row['validation_segment_f1']:.3f}"
    if "validation_map" in row:
        return f"validation mAP {row['validation_map']:.3f}"
    return f"validation accuracy {row['validation_accuracy']:.1%}"


def best_epoch(run: Path) -> Row | None:
    """The row of the epoch whose model the run holds; None where there was no training."""
    history, config = read_history(run), read_config(run)
    by = "accuracy" if config is None else config.training.best_by
    return rank_epochs(history, by)[0] if history else None


def holds_run(run: Path) -> bool:
    """Whether something was learned there: without a checkpoint or a model, a start that failed."""
    return bool(checkpoints(run)) or any((run / name).exists() for name in MODEL_NAMES)


def forget_failed_start(run: Path) -> None:
    """Remove what a start leaves before its first checkpoint."""
    for name in (CLIPS_NAME, CONFIG_NAME, BACKENDS_NAME):
        (run / name).unlink(missing_ok=True)
    for name in (TENSORBOARD_NAME, SOUNDS_NAME):
        shutil.rmtree(run / name, ignore_errors=True)


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of an optimizer step is, or would be."""
    return run / CHECKPOINTS_NAME / f"step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted((run / CHECKPOINTS_NAME).glob("step-*"))
