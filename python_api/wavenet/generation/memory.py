"""How much memory a step of a generative model takes: known before it is taken."""

from __future__ import annotations

from wavenet.generation.config import GeneratorConfig
from wavenet.generation.waveglow_config import WaveGlowConfig

# Of a sample: the waveform as it came, prepared and padded, codes, nats and masks.
FLOATS_OF_A_SAMPLE = 16
# Of the distribution's parameters: themselves, the terms of the likelihood and their gradients.
COPIES_OF_PARAMETERS = 6


def training_bytes(
    config: GeneratorConfig | WaveGlowConfig, samples: int, bytes_of_float: int = 4
) -> int:
    """What forward and backward take of a padded batch of so many samples in all.

    Args:
        config: of the network.
        samples: parts times the samples of the longest one.
        bytes_of_float: of an activation; 2 in mixed precision.
    """
    if isinstance(config, WaveGlowConfig):
        floats, wide = _of_flow(config), 0.0
    else:
        floats, wide = _of_wavenet(config)
    return round(samples * (floats * bytes_of_float + (wide + FLOATS_OF_A_SAMPLE) * 4))


def _of_wavenet(config: GeneratorConfig) -> tuple[float, float]:
    """Of a sample: floats of activations, and those that are float32 in any case."""
    layers, every = len(config.dilations), config.checkpoint_every
    residual, gates = config.residual_channels, 2 * config.dilation_channels
    floats = float(residual * len(range(0, layers, every)) + 3 * config.skip_channels)
    if every > 1:  # a segment's inputs anew, and the gradients of three of them
        floats += residual * (min(every, layers) - 1 + 3)
    floats += 2 * (config.head_channels or 0)
    if config.mel is not None:  # every layer's gates, and their gradient
        floats += 2 * layers * gates + 2 * config.mel.mels
    return floats, COPIES_OF_PARAMETERS * config.sample_distribution.channels


def _of_flow(config: WaveGlowConfig) -> float:
    """Of a sample: floats of the flows, of which a step has `group` samples."""
    layers = len(range(0, config.layers, config.checkpoint_every))
    gates = 2 * config.channels * config.layers
    one = config.channels * (layers + 4) + 2 * gates + 4 * config.group
    flows = 1 if config.reversible else config.flows
    return (one * flows + 2 * config.mel.mels * config.group) / config.group
