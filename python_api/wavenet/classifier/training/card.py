"""A model card beside the weights: what was learned from, how well, and what it is not good for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wavenet.classifier.data import Clip, PreparedData, labels_of
from wavenet.classifier.data.clip_check import duration
from wavenet.classifier.inference.intervals import as_text, wilson_interval
from wavenet.classifier.run_config import LAST, RunConfig
from wavenet.classifier.run_folder import Row, headline, rank_epochs
from wavenet.generation.section import GenerativeModel
from wavenet_kernels import __version__

# Of fewer clips a figure is a guess.
FEW = 100


def model_card(
    name: str, config: RunConfig, data: PreparedData, model: Any, history: Sequence[Row]
) -> str:
    """The card as Markdown, with the Hugging Face Hub's header.

    Args:
        name: of the model.
        config: of the run.
        data: what it was trained on.
        model: with the weights that are saved.
        history: the epochs so far, of which the best is saved.
    """
    generative = isinstance(config.model, GenerativeModel)
    best = rank_epochs(history, config.training.best_by)[0]
    parts = [
        _header(config, generative),
        f"# {name}",
        _what(model, generative),
        "## Data",
        _data(config, data),
        "## Training",
        _training(config, best, history),
        "## Figures",
        _figures(data, best, config.training.best_by),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(config, data, model, generative)),
    ]
    return "\n\n".join(parts) + "\n"


def _header(config: RunConfig, generative: bool) -> str:
    kind = "text-to-audio" if generative else "audio-classification"
    licence = "other" if config.data.licence else "unknown"
    return "\n".join(
        [
            "---",
            "library_name: wavenet-kernels",
            f"pipeline_tag: {kind}",
            f"license: {licence}",
            f"tags: [wavenet, {kind}]",
            "---",
        ]
    )


def _what(model: Any, generative: bool) -> str:
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    size = (
        f"{parameters:,} parameters, {config.sample_rate} Hz, receptive field "
        f"{model.receptive_field_ms:.0f} ms, written by wavenet-kernels {__version__}."
    )
    if generative:
        return f"A model that makes sound ({config.architecture}). {size}"
    labels = ", ".join(config.labels)
    said = "Says which of these are heard" if config.tags else "Tells apart"
    if config.events:
        said = "Says from when to when these are heard"
    use = "`wavenet predict FOLDER recording.wav` asks it."
    return f"{said}: {labels}.\n\n{size} {use}"


def _data(config: RunConfig, data: PreparedData) -> str:
    splits = {name: clips for name, clips in vars(data.splits).items() if clips}
    counts = ", ".join(f"{len(clips)} clips in {name}" for name, clips in splits.items())
    lines = [
        f"{Path(config.data.source).name or config.data.source}: {counts}, "
        f"{duration(data.report.total_seconds)} in all"
        + (f"; {len(data.report.skipped)} could not be used." if data.report.skipped else "."),
        f"Licence of the recordings: {config.data.licence or 'not stated'}.",
        "",
        "| label | " + " | ".join(splits) + " |",
        "|---" * (1 + len(splits)) + "|",
    ]
    per_split = [
        Counter(label for clip in clips for label in clip.labels) for clips in splits.values()
    ]
    for label in labels_of([clip for clips in splits.values() for clip in clips]):
        cells = [str(counted[label]) for counted in per_split]
        lines.append(f"| {' | '.join([label.replace('|', '/'), *cells])} |")
    return "\n".join(lines)


def _training(config: RunConfig, best: Row, history: Sequence[Row]) -> str:
    settings = config.training
    changed = [f"{name} {value}" for name, value in config.augmentation.changed.items()]
    started = f" It started from {settings.init_from}." if settings.init_from else ""
    chosen = f", the best by {settings.best_by} of the validation part"
    if settings.best_by == LAST:
        chosen = ""
    return (
        f"Epoch {best['epoch']:.0f} of {len(history)}{chosen}.{started} Augmentation: "
        f"{', '.join(changed) or 'none'}. All settings are in train.yaml."
    )


def _figures(data: PreparedData, best: Row, by: str) -> str:
    clips = len(data.splits.validation)
    text = f"{headline(best).capitalize()}, on {clips} clips"
    if "validation_accuracy" in best:
        interval = wilson_interval(best["validation_accuracy"] * clips, clips)
        text += f" (95 %: {as_text(interval)})"
    if by != LAST:
        text += ". The epoch was chosen on these clips, so they flatter it a little"
    lines = [f"{text}."]
    names = [name for name in best if name.startswith("validation_")]
    lines += ["", "| figure | validation |", "|---|---|"]
    lines += [f"| {name.removeprefix('validation_')} | {best[name]:.4f} |" for name in names]
    if data.splits.test:
        tested = len(data.splits.test)
        lines += ["", f"{tested} test clips were not looked at: `wavenet evaluate` measures them."]
    return "\n".join(lines)


def _limits(config: RunConfig, data: PreparedData, model: Any, generative: bool) -> list[str]:
    rate = model.config.sample_rate
    lines = [f"It hears nothing above {rate / 2000:g} kHz; other rates are converted."]
    validation = data.splits.validation
    if len(validation) < FEW:
        lines.append(f"The figures are of {len(validation)} clips only.")
    if generative:
        return [*lines, "It makes sound like its recordings; who can be heard in them has rights."]
    if not _has_groups(data.splits.train):
        lines.append(
            "The recordings have no groups: the same speakers, rooms or devices may be on both "
            "sides of the split, and others may be understood less well."
        )
    rule = model.config.rule
    if not rule.tags and not rule.background:
        lines.append(
            "It has no class for background: sound of no class is named as one, or unknown below "
            f"a probability of {max(rule.least):.1%}."
        )
    counts = Counter(label for clip in data.splits.train for label in clip.labels)
    if rare := [label for label, count in counts.items() if count < 20]:
        lines.append(f"Trained on fewer than 20 clips each: {', '.join(sorted(rare))}.")
    return lines


def _has_groups(clips: Sequence[Clip]) -> bool:
    return all(clip.group is not None for clip in clips)
