"""How much memory a step of a generative model takes: known before it is taken."""

from __future__ import annotations

from wavenet.generation.config import GeneratorConfig
from wavenet.generation.waveglow_config import WaveGlowConfig
from wavenet.networks.memory import stack_floats

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
        floats, wide = _of_flow(config, samples, bytes_of_float), 0.0
    else:
        floats, wide = _of_wavenet(config, samples, bytes_of_float)
    return round(samples * (floats * bytes_of_float + (wide + FLOATS_OF_A_SAMPLE) * 4))


def _of_wavenet(config: GeneratorConfig, samples: int, bytes_of_float: int) -> tuple[float, float]:
    """Of a sample: floats of activations, and those that are float32 in any case."""
    layers, gates = len(config.dilations), 2 * config.dilation_channels
    floats = 3 * config.skip_channels + stack_floats(
        config.residual_channels,
        config.dilation_channels,
        config.kernel_size,
        layers,
        config.checkpoint_every,
        samples,
        bytes_of_float,
    )
    floats += 2 * (config.head_channels or 0)
    if config.frame_channels:  # every layer's gates, and their gradient
        floats += 2 * layers * gates + 2 * config.frame_channels
    return floats, COPIES_OF_PARAMETERS * config.sample_distribution.channels


def _of_flow(config: WaveGlowConfig, samples: int, bytes_of_float: int) -> float:
    """Of a sample: floats of the flows, of which a step has `group` samples."""
    channels, layers = config.channels, config.layers
    gates = 2 * channels * layers
    one = float(4 * channels + 2 * gates + 4 * config.group)
    one += stack_floats(
        channels,
        channels,
        config.kernel_size,
        layers,
        config.checkpoint_every,
        samples / config.group,
        bytes_of_float,
    )
    flows = 1 if config.reversible else config.flows
    # Of whitening a block's matrix has a row for each sample; both that it lies between, too.
    rows = 4 * config.whiten
    return (one * flows + 2 * config.mel.mels * config.group) / config.group + rows
