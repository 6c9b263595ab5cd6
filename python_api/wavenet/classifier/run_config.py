"""What a training run is told: a YAML file, its overrides, and the resolved copy of both.

A YAML file has four sections, `model` (the fields of `Architecture`; labels come from the
data), `data`, `augmentation` and `training`, each field optional. With `architecture: wavenet` or
`waveglow` the model section has the fields of `GeneratorConfig` or `WaveGlowConfig`, and speakers
may be "labels" or "groups": those of the data::

    model: {sample_rate: 8000, stem_stride: 4, stem_kernel_size: 16}
    data: {source: recordings/, validation_fraction: 0.1}
    augmentation: {gain_db: 6, shift_ms: 50}
    training: {epochs: 30, batch_size: 32}

`model: {preset: wavenet-small, dropout: 0.3}` starts from a named architecture.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wavenet.classifier.data import Augmentation, DataConfig
from wavenet.classifier.data.background import BACKGROUND
from wavenet.classifier.model import WaveNetConfig
from wavenet.configs import locate
from wavenet.data.mel import MelConfig
from wavenet.data.notes import NoteConfig
from wavenet.errors import ConfigError, extra, require_field
from wavenet.files import replace_file
from wavenet.generation.section import CONFIGS, GenerativeModel, section_of
from wavenet.networks.architecture import Architecture
from wavenet.networks.presets import preset
from wavenet.saved import CLASSIFIER

with extra("classifier"):
    import yaml

LAST = "last"
# What an epoch may be the best by: of classes, of tags, and of events.
FIGURES = ("accuracy", "macro_f1", "loss", LAST)
FIGURES_OF_TAGS = ("map", "macro_f1", "loss", LAST)
FIGURES_OF_EVENTS = ("segment_f1", "event_f1", "loss", LAST)
SCHEDULES = ("cosine", "step")
ARCHITECTURE = "model.architecture="
# A section that `wavenet sweep` reads, and nothing else.
SWEEP = "sweep"

# Of the classification loss.
OF_CLASSES = ("label_smoothing", "label_smoothing_of", "class_weights", "focal_gamma")

# Fields about the machine and the checkpoints: a resumed run may have others.
OF_THE_MACHINE = frozenset(
    {
        "data.cache",
        "data.workers",
        "training.accumulation",
        "training.checkpoint_steps",
        "training.compile",
        "training.device",
        "training.keep_best",
        "training.loggers",
        "training.memory_gb",
    }
)


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained.

    Attributes:
        epochs: passes over the training clips.
        batch_size: clips an optimizer step, of all processes together.
        accumulation: at least so many parts of a batch are computed one after another.
        memory_gb: so many gigabytes (10^9 bytes) the layers of a step may take in each process: a
            batch of long clips is cut into as many parts as that takes. 0: it is not cut.
        learning_rate: the peak, reached after warm-up.
        schedule: how the rate falls then: along a "cosine" to 0 at the end, or by "step": it is
            halved every halve_steps steps.
        halve_steps: of the latter.
        warmup_fraction: of all steps.
        weight_decay: AdamW's, on weights; biases have none.
        max_grad_norm: gradients are scaled down to this norm; 0: never.
        label_smoothing: of the classification loss.
        label_smoothing_of: the same of single labels, where it is another.
        class_weights: a class's clips weigh (1 / its share of the clips)^class_weights in the loss:
            0 the same, 1 as much as another class's together. Of tags the clips that have one weigh
            (those without it / those with it)^class_weights.
        focal_gamma: of the focal loss, 2 say: what is known well already counts less; 0: it is not.
        rejection: this share of the validation clips that are classified right may be called
            unknown; the threshold that it stands for is the model's. 0: nothing is unknown.
        rates: of parts of the network (stem, stack, head, pooling, classifier, next_sample), as
            shares of the learning rate: {stem: 0, stack: 0.1} freezes the stem.
        balanced: draw every class equally often, a clip with several labels for its rarest.
        seed: of initialisation, order, augmentation and dropout.
        mixed_precision: "no", "bf16", "fp16", or "auto": bf16 on a device that computes in it
            natively, else none. Weights stay float32; "fp16" scales the loss.
        compile: torch.compile the whole model with its loss: faster steps, after a minute or so.
        device: "auto" (a GPU where there is one), or "cpu".
        ema_decay: of an exponential moving average of the weights, which is then what is evaluated
            and saved, 0.999 say; 0: none.
        init_from: folder, or hf://owner/name on the Hub, of a trained model to start from, whose
            labels may be others; empty: random weights. `wavenet train --from` sets it, and the
            model section with it.
        patience: stop after so many epochs without a better one; 0: never.
        checkpoint_steps: steps between checkpoints within an epoch; 0: only after each epoch.
        best_by: what makes an epoch the best, of "accuracy", "macro_f1" (every class counts the
            same) and "loss" of the validation part; of tags "map" (mean average precision),
            "macro_f1" or "loss"; of events "segment_f1", "event_f1" or "loss"; "loss" of a
            generative model. "last": nothing but to be the last one, for a validation part so small
            that choosing on it is drawing lots.
        loggers: names between commas of what else is told the figures: wandb, mlflow, or another of
            accelerate's trackers.
        keep_best: the checkpoints of so many best epochs are kept, beside the newest.
    """

    epochs: int = 30
    batch_size: int = 32
    accumulation: int = 1
    memory_gb: float = 4.0
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    halve_steps: int = 200000
    warmup_fraction: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    label_smoothing: float = 0.0
    label_smoothing_of: dict[str, float] = field(default_factory=dict)
    class_weights: float = 0.0
    focal_gamma: float = 0.0
    rejection: float = 0.05
    rates: dict[str, float] = field(default_factory=dict)
    balanced: bool = False
    seed: int = 0
    mixed_precision: str = "auto"
    device: str = "auto"
    compile: bool = False
    ema_decay: float = 0.0
    init_from: str = ""
    patience: int = 0
    checkpoint_steps: int = 0
    best_by: str = "accuracy"
    loggers: str = ""
    keep_best: int = 1

    def __post_init__(self) -> None:
        require_field(self.epochs >= 1, self, "epochs", "1 or more")
        require_field(self.batch_size >= 1, self, "batch_size", "1 or more")
        parts = f"from 1 to batch_size = {self.batch_size}"
        require_field(1 <= self.accumulation <= self.batch_size, self, "accumulation", parts)
        require_field(self.memory_gb >= 0, self, "memory_gb", "0 (never cut a batch) or more")
        require_field(self.learning_rate > 0, self, "learning_rate", "more than 0")
        require_field(self.schedule in SCHEDULES, self, "schedule", str(SCHEDULES))
        require_field(self.halve_steps >= 1, self, "halve_steps", "1 or more")
        require_field(0 <= self.warmup_fraction < 1, self, "warmup_fraction", "0 or more, below 1")
        require_field(self.weight_decay >= 0, self, "weight_decay", "0 or more")
        require_field(self.max_grad_norm >= 0, self, "max_grad_norm", "0 (no clipping) or more")
        require_field(0 <= self.label_smoothing < 1, self, "label_smoothing", "0 or more, below 1")
        smoothed = all(0 <= value < 1 for value in self.label_smoothing_of.values())
        require_field(smoothed, self, "label_smoothing_of", "0 or more, below 1, of each label")
        require_field(0 <= self.class_weights <= 1, self, "class_weights", "from 0 to 1")
        require_field(self.focal_gamma >= 0, self, "focal_gamma", "0 (none) or more")
        require_field(0 <= self.rejection < 1, self, "rejection", "0 (none) or more, below 1")
        positive = all(value >= 0 for value in self.rates.values())
        require_field(positive, self, "rates", "0 (frozen) or more of each part")
        require_field(0 <= self.seed < 2**31, self, "seed", "0 or more, below 2**31")
        require_field(0 <= self.ema_decay < 1, self, "ema_decay", "0 (no average) or more, below 1")
        require_field(self.patience >= 0, self, "patience", "0 (never stop early) or more")
        require_field(self.keep_best >= 0, self, "keep_best", "0 or more")
        require_field(self.checkpoint_steps >= 0, self, "checkpoint_steps", "0 or more")
        figures = tuple(dict.fromkeys(FIGURES + FIGURES_OF_TAGS + FIGURES_OF_EVENTS))
        require_field(self.best_by in figures, self, "best_by", str(figures))
        waits = self.patience and self.best_by == LAST
        require_field(not waits, self, "patience", "0 where the last epoch is the best")
        precisions = ("auto", "no", "bf16", "fp16")
        require_field(self.mixed_precision in precisions, self, "mixed_precision", str(precisions))
        require_field(self.device in ("auto", "cpu"), self, "device", "('auto', 'cpu')")


@dataclass(frozen=True)
class RunConfig:
    """All of a run's configuration; the labels are those of the data."""

    model: Architecture | GenerativeModel = field(default_factory=Architecture)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def check(self) -> None:
        """Raise ConfigError where the sections don't go together."""
        if isinstance(self.model, GenerativeModel):
            self._check_generative(self.model)
            return
        figures, kind = _figures_of(self.data)
        if self.training.best_by not in figures:
            raise ConfigError(
                f"training.best_by is {self.training.best_by!r}; accepted with {kind} are {figures}"
            )
        for name in ("crop_seconds", "context", "normalize_mel"):
            if getattr(self.data, name):
                raise ConfigError(f"data.{name} is set; it is of generative models alone")

        if self.data.events:
            self._check_events()

    def _check_events(self) -> None:
        """Raise ConfigError for what moves sound away from the times of its labels."""
        changed = self.augmentation.changed
        for name in ("crop", "speed", "shift_ms", "mask_ms"):
            if name in changed:
                raise ConfigError(
                    f"augmentation.{name} is set; it moves or removes sound, and is accepted where "
                    "data.events is false"
                )
        if self.architecture.next_sample_weight:
            raise ConfigError("model.next_sample_weight is set; accepted with data.events is 0")

    def _check_generative(self, model: GenerativeModel) -> None:
        """Raise ConfigError for what is of no use to such a model."""
        training, changed = self.training, list(self.augmentation.changed)
        flow = model.config.architecture == "waveglow"
        own_mean = model.mel is not None and model.mel.mean is not None
        for name, wrong, accepted in (
            ("training.best_by", training.best_by != "loss", "loss"),
            *((f"training.{name}", getattr(training, name), "none") for name in OF_CLASSES),
            ("data.label_separator", self.data.label_separator, "none"),
            ("data.background", self.data.background, "none"),
            ("data.events", self.data.events and not model.notes, "false without model.notes"),
            ("model.notes", model.notes and not self.data.events, "none without data.events"),
            (
                f"augmentation.{changed[0] if changed else ''}",
                changed,
                "none: sound is learned as it was recorded",
            ),
            ("data.context", self.data.context and flow, "false: it hears later samples, too"),
            (
                "data.normalize_mel",
                self.data.normalize_mel and (model.mel is None or own_mean),
                "true with a model.mel that has no mean of its own",
            ),
            (
                "model.speaker_features",
                getattr(model.config, "speaker_features", 0),
                "0: recordings come without such vectors",
            ),
        ):
            if wrong:
                kind = model.config.architecture
                raise ConfigError(f"{name} is set; accepted of a {kind} is {accepted}")

    @property
    def architecture(self) -> Architecture:
        """The model section of a classifier.

        Raises:
            ConfigError: it is that of a generative model.
        """
        if isinstance(self.model, GenerativeModel):
            kind = self.model.config.architecture
            raise ConfigError(f"model.architecture is {kind!r}; accepted here is {CLASSIFIER!r}")
        return self.model

    def model_config(self, labels: Sequence[str]) -> WaveNetConfig:
        """The classifier's configuration for these labels."""
        tags = self.data.tags
        background = BACKGROUND if self.data.background and not tags else ""
        return WaveNetConfig(
            labels=tuple(labels),
            tags=tags,
            background=background,
            events=self.data.events,
            **vars(self.architecture),
        )

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The sections, every field spelled out."""
        content = {name: vars(section) for name, section in vars(self).items()}
        if isinstance(self.model, GenerativeModel):
            content["model"] = self.model.as_dict()
        return content

    def save(self, path: Path) -> None:
        """Write the resolved configuration, every field spelled out, as YAML."""
        content = _plain(self.as_dict())
        replace_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def differences(self, other: RunConfig) -> list[str]:
        """The names of the fields in which two configurations of one run must not differ."""
        mine, others = self.as_dict(), other.as_dict()
        names = [
            f"{section}.{name}"
            for section, fields in mine.items()
            for name, value in fields.items()
            if value != others[section].get(name)
        ]
        return [name for name in names if name not in OF_THE_MACHINE]


def load_config(
    path: Path | None,
    overrides: Sequence[str] = (),
    model: Architecture | GenerativeModel | None = None,
) -> RunConfig:
    """A YAML file (None: all defaults) with overrides like "training.epochs=3" applied to it.

    A table or folder that `data` names is found from here, and then from any folder.

    Args:
        path: the file, or the name of one that is installed (`wavenet.configs`).
        overrides: "section.field=value" each, the value as YAML.
        model: what the fields of the model section are where neither says so; None: the defaults.

    Raises:
        ConfigError: a file that is missing or not YAML, or a field that doesn't exist or fit.
    """
    model = model or Architecture()

    def build(chosen: Sequence[str]) -> RunConfig:
        content = {} if path is None else read_yaml(locate(path))
        for override in chosen:
            _apply(content, override)
        return _build(content, f"--set {chosen[-1]}" if chosen else str(path), model)

    # It decides what other fields mean.
    overrides = sorted(overrides, key=lambda override: not override.startswith(ARCHITECTURE))
    try:
        config = build(overrides)
    except ConfigError:
        for override in reversed(overrides):  # the one without which it fits is named
            others = [other for other in overrides if other is not override]
            with contextlib.suppress(ConfigError):
                build(others)
                break
        else:
            for count in range(len(overrides)):  # of several the first one
                build(overrides[:count])
            raise
        build([*others, override])
        raise
    config.check()
    return dataclasses.replace(config, data=config.data.from_anywhere())


def read_yaml(path: Path) -> dict[str, Any]:
    """The content of a configuration file.

    Raises:
        ConfigError: it is missing, or holds no sections.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: can't be read as YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}; accepted are sections")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"--set {override!r}: accepted is section.field=value")
    part = content.get(section)
    part = {} if part is None else part
    if not isinstance(part, dict):
        raise ConfigError(f"--set {override!r}: {section} is not a section")
    try:
        part[key] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: {value!r} is not a YAML value") from None
    content[section] = part


def _build(
    content: Mapping[str, Any], where: str, model: Architecture | GenerativeModel
) -> RunConfig:
    sections: dict[str, type] = {
        "data": DataConfig,
        "augmentation": Augmentation,
        "training": TrainingConfig,
    }
    for section in content:
        if section not in ("model", *sections, SWEEP):
            names = ", ".join(("model", *sections))
            raise ConfigError(f"{where}: no section {section!r}; there are {names}")
    built: dict[str, Any] = {}
    for section in ("model", *sections):
        values = content.get(section)
        values = {} if values is None else values
        name = f"{where}: {section}"
        try:
            if section == "model":
                built[section] = _model(values, name, model)
            else:
                usual = {"best_by": _usual_figure(built)} if section == "training" else {}
                cls = sections[section]
                built[section] = cls(**usual | _checked(cls, values, name))
        except ConfigError:
            raise
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{where}: {section}.{error}") from None
    return RunConfig(**built)


def _usual_figure(built: Mapping[str, Any]) -> str:
    """What an epoch is the best by, if nobody says so."""
    if isinstance(built["model"], GenerativeModel):
        return "loss"
    return _figures_of(built["data"])[0][0]


def _figures_of(data: DataConfig) -> tuple[tuple[str, ...], str]:
    """What an epoch may be the best by, the usual figure first, and why."""
    if data.events:
        return FIGURES_OF_EVENTS, "data.events"
    if data.tags:
        return FIGURES_OF_TAGS, "a data.label_separator"
    return FIGURES, "one label a clip"


def _model(
    values: Any, where: str, base: Architecture | GenerativeModel
) -> Architecture | GenerativeModel:
    """The model section, over what `base` has."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {values!r}; accepted are fields and values")
    values = dict(values)
    generative = isinstance(base, GenerativeModel)
    usual = base.config.architecture if isinstance(base, GenerativeModel) else CLASSIFIER
    kind = values.pop("architecture", usual)
    known = (CLASSIFIER, *CONFIGS)
    if kind not in known or (generative and kind != usual):
        accepted = usual if generative else f"one of {known}"
        raise ConfigError(f"{where}.architecture is {kind!r}; accepted is {accepted}")
    name = {"preset": values.pop("preset")} if "preset" in values else {}
    fields: dict[str, Any]
    if kind == CLASSIFIER:
        assert isinstance(base, Architecture)
        fields = dict(vars(base)) | (preset(name["preset"]) if name else {})
        return Architecture(**fields | _checked(Architecture, values, where))
    fields = base.as_dict() if isinstance(base, GenerativeModel) else {}
    given = _checked(CONFIGS[kind], values, where)
    for name_of, frames in (("mel", MelConfig), ("notes", NoteConfig)):
        if isinstance(given.get(name_of), dict):
            given[name_of] = _checked(frames, given[name_of], f"{where}.{name_of}")
    return section_of({"architecture": kind, **fields, **name, **given})


def _checked(cls: type, values: Any, where: str) -> dict[str, Any]:
    """The section's values, with ints made floats where a field is a float."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {values!r}; accepted are fields and values")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    checked = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{where} has no field {key!r}; it has {', '.join(fields)}")
        accepted = str(fields[key].type)
        if accepted == "float":
            # YAML 1.1 takes 1e-3 for a string.
            value = _number(value, f"{where}.{key}")
        elif accepted == "dict[str, float]":
            if not isinstance(value, dict):
                raise ConfigError(f"{where}.{key} is {value!r}; accepted are names and numbers")
            value = {
                str(name): _number(number, f"{where}.{key}.{name}")
                for name, number in value.items()
            }
        elif accepted == "str" and value is False:
            value = "no"  # which YAML 1.1 takes for false
        elif accepted == "str" and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        elif accepted in ("int", "bool", "str") and type(value).__name__ != accepted:
            raise ConfigError(f"{where}.{key} is {value!r}; accepted is {_ARTICLE[accepted]}")
        checked[key] = value
    return checked


_ARTICLE = {"int": "an int", "bool": "true or false", "str": "a text"}


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError):
        raise ConfigError(f"{where} is {value!r}; accepted is a finite number") from None
    return number


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML's safe form has no tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
