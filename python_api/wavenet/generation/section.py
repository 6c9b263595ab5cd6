"""The model section of a training run's configuration, where the model is a generative one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wavenet.data.mel import MelConfig
from wavenet.data.notes import NoteConfig
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.presets import preset_fields
from wavenet.generation.waveglow_config import WaveGlowConfig

CONFIGS: dict[str, type[GeneratorConfig] | type[WaveGlowConfig]] = {
    "wavenet": GeneratorConfig,
    "waveglow": WaveGlowConfig,
}
# What of a manifest says who speaks.
SPEAKERS = ("labels", "groups")


@dataclass(frozen=True)
class GenerativeModel:
    """What is trained, but for what only the data says.

    Attributes:
        config: of a WaveNet or WaveGlow. Its speakers, if it names any, are groups or labels of
            the clips.
        speakers: "labels" or "groups": the speakers are those of the training clips; "": they are
            those of `config`, which may be none.
    """

    config: GeneratorConfig | WaveGlowConfig
    speakers: str = ""

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    @property
    def receptive_field(self) -> int:
        """Samples that one depends on."""
        return self.config.receptive_field

    @property
    def mel(self) -> MelConfig | None:
        """What it is conditioned on."""
        return self.config.mel

    @property
    def notes(self) -> NoteConfig | None:
        """What it is conditioned on instead."""
        return self.config.notes if isinstance(self.config, GeneratorConfig) else None

    @property
    def named(self) -> tuple[str, ...]:
        """The speakers that the configuration names."""
        return self.config.speakers if isinstance(self.config, GeneratorConfig) else ()

    def as_dict(self) -> dict[str, Any]:
        """Its fields as the section of a YAML file has them."""
        content = dataclasses.asdict(self.config)
        return {**content, "speakers": self.speakers} if self.speakers else content

    def resolved(
        self, speakers: Sequence[str], mean_and_std: tuple[list[float], list[float]] | None
    ) -> GeneratorConfig | WaveGlowConfig:
        """The model's configuration, with these speakers and, if given, the mel normalised so."""
        changes: dict[str, Any] = {"speakers": tuple(speakers)} if speakers else {}
        if mean_and_std is not None and self.mel is not None:
            mean, std = map(tuple, mean_and_std)
            changes["mel"] = dataclasses.replace(self.mel, mean=mean, std=std)
        return dataclasses.replace(self.config, **changes)


def section_of(values: Mapping[str, Any]) -> GenerativeModel:
    """A section's values, which have an architecture, as a model to train.

    Raises:
        ValueError, TypeError: a field that there isn't, or that doesn't fit.
    """
    fields = dict(values)
    name = fields.pop("preset", None)
    if name is not None:
        of_preset = preset_fields(name, fields.get("sample_rate"))
        if of_preset["architecture"] != fields["architecture"]:
            raise ValueError(f"preset is {name!r}, which is a {of_preset['architecture']}")
        fields = {**of_preset, **fields}
    config = CONFIGS[fields["architecture"]]
    rate, mel = fields.get("sample_rate"), fields.get("mel")
    if isinstance(mel, Mapping) and rate is not None:
        fields["mel"] = {"sample_rate": rate, **mel}
    elif mel is None and rate is not None and config is WaveGlowConfig:
        fields["mel"] = MelConfig.tacotron2(rate, high_hz=min(8000.0, rate / 2))
    speakers = fields.get("speakers", "")
    if isinstance(speakers, str):
        fields.pop("speakers", None)
        if speakers and speakers not in SPEAKERS:
            accepted = f"one of {SPEAKERS}, or a list of names"
            raise ValueError(f"speakers is {speakers!r}; accepted is {accepted}")
    else:
        speakers = ""
    return GenerativeModel(config(**fields), speakers)
