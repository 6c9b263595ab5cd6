"""Untrained models by name, of any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from wavenet.networks import presets

if TYPE_CHECKING:
    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow

GENERATORS = (
    "wavenet-fsdd",
    "wavenet-vocoder-mol",
    "wavenet-vocoder-gaussian",
    "wavenet-vocoder-mulaw256",
    "waveglow-256",
)


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows, of those the ones that match, "*vocoder*" say."""
    generators = [name for name in GENERATORS if fnmatchcase(name, pattern)]
    return presets.list_models(pattern) + generators


def create_model(
    name: str,
    labels: Sequence[str] | None = None,
    sample_rate: int | None = None,
    **overrides: Any,
) -> WaveNetClassifier | WaveNet | WaveGlow:
    """An untrained model of a named architecture.

    Args:
        name: one of `list_models()`.
        labels: class names, two or more, of a classifier; a generative model has none.
        sample_rate: of the waveforms, in Hz; None: 16,000 of a classifier, else what the recipe
            has. Sizes in samples stay what they are: at half the rate the receptive field is twice
            as long.
        overrides: fields of `WaveNetConfig`, `GeneratorConfig` or `WaveGlowConfig` that differ.

    Raises:
        ValueError: no such name, labels missing or of no use, or a field out of range.
        TypeError: no such field.

    Example::

        model = wavenet.create_model("wavenet-small", labels=("dog", "rain"), dropout=0.3)
        vocoder = wavenet.create_model("wavenet-vocoder-mol", sample_rate=24000)
    """
    if name in GENERATORS:
        if labels is not None:
            raise ValueError(f"labels is given; {name} makes sound and has none")
        from wavenet.generation.presets import create_generator

        return create_generator(name, sample_rate, **overrides)
    if name not in presets.list_models():
        raise ValueError(f"preset is {name!r}; accepted are {', '.join(list_models())}")
    if labels is None:
        raise ValueError(f"labels is missing; {name} is a classifier of two or more")
    from wavenet.classifier.model import create_model as create_classifier

    return create_classifier(name, labels, sample_rate or 16000, **overrides)
