"""A small WaveNet that a signal is played through, as a model of a guitar amplifier, say."""

# Annotations are what they say: the mixin makes a configuration of that of __init__.
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wavenet.errors import (
    DataError,
    extra,
    is_number,
    is_whole,
    of_fields,
    plain,
    require_field,
    require_floats,
    require_tensor,
)

with extra("classifier"):
    from huggingface_hub import PyTorchModelHubMixin

# What files of the C library may say (csrc/runtime/weights.h), too.
MOST_ARRAYS, MOST_LAYERS = 16, 1 << 12
MOST_CHANNELS, MOST_TAPS = 1 << 16, 1 << 16
MOST_DILATION, MOST_HISTORY, LEAST_ROW = 1 << 20, 1 << 24, 32
MOST_HZ = 1e9
LARGEST = float(torch.finfo(torch.float32).max)


@dataclass(frozen=True)
class LayersConfig:
    """Layers of an `Amplifier` that have the same sizes.

    Attributes:
        channels: C of them between layers.
        dilations: of each layer.
        kernel_size: K taps of each.
        gated: tanh is multiplied by the sigmoid of as many outputs more.
    """

    channels: int
    dilations: tuple[int, ...] = tuple(2**n for n in range(10))
    kernel_size: int = 3
    gated: bool = False

    def __post_init__(self) -> None:
        dilations: Any = self.dilations
        if isinstance(dilations, list):  # of JSON
            object.__setattr__(self, "dilations", tuple(dilations))
        for name, most in (("channels", MOST_CHANNELS), ("kernel_size", MOST_TAPS)):
            value = getattr(self, name)
            fits = is_whole(value, 1) and value <= most
            require_field(fits, self, name, f"an int from 1 to {most}")
        given = isinstance(self.dilations, tuple) and 1 <= len(self.dilations) <= MOST_LAYERS
        fits = given and all(is_whole(each, 1) and each <= MOST_DILATION for each in self.dilations)
        accepted = f"1 to {MOST_LAYERS} ints from 1 to {MOST_DILATION}"
        require_field(fits, self, "dilations", accepted)
        heard = max(self.channels, LEAST_ROW) * self.history
        accepted = f"those of which {MOST_HISTORY} numbers are kept at most, not {heard}"
        require_field(heard <= MOST_HISTORY, self, "dilations", accepted)
        require_field(isinstance(self.gated, bool), self, "gated", "true or false")

    @property
    def history(self) -> int:
        """Earlier samples that the layers hear."""
        return (self.kernel_size - 1) * sum(self.dilations)


@dataclass(frozen=True)
class AmplifierConfig:
    """The configuration of an `Amplifier`; it is what config.json holds.

    Attributes:
        sample_rate: of the signal, in Hz.
        arrays: layers, each array with sizes of its own, up to 16 of them.
        scale: that the output is multiplied by.
        architecture: "amplifier"; tells config.json from others.
    """

    sample_rate: float = 48000
    arrays: tuple[LayersConfig, ...] = (LayersConfig(16), LayersConfig(8))
    scale: float = 0.02
    architecture: str = "amplifier"

    def __post_init__(self) -> None:
        arrays: Any = self.arrays
        if isinstance(arrays, list | tuple):
            made = tuple(of_fields(LayersConfig, array, "arrays") for array in arrays)
            object.__setattr__(self, "arrays", made)
        several = isinstance(self.arrays, tuple) and 1 <= len(self.arrays) <= MOST_ARRAYS
        fits = several and all(isinstance(array, LayersConfig) for array in self.arrays)
        require_field(fits, self, "arrays", f"1 to {MOST_ARRAYS} of LayersConfig")
        for name in ("sample_rate", "scale"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        rate = is_number(self.sample_rate) and 0 < self.sample_rate <= MOST_HZ
        require_field(rate, self, "sample_rate", f"more than 0, at most {MOST_HZ:g}")
        scale = is_number(self.scale) and abs(self.scale) <= LARGEST
        require_field(scale, self, "scale", "a number of float32's range")
        require_field(self.architecture == "amplifier", self, "architecture", "amplifier")

    @property
    def receptive_field(self) -> int:
        """Samples that one depends on, itself among them."""
        return 1 + sum(array.history for array in self.arrays)


class Layers(nn.Module):
    """An array of layers: what they hear, their weights, and the head over their sum."""

    def __init__(self, config: LayersConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        number, channels = len(config.dilations), config.channels
        columns = channels * (1 + config.gated)

        def weights(*shape: int, inputs: int) -> nn.Parameter:
            most = 1 / math.sqrt(inputs)
            return nn.Parameter(torch.empty(shape).uniform_(-most, most))

        taps = channels * config.kernel_size
        self.input_weight = weights(channels, inputs, inputs=inputs)
        self.conv_weight = weights(number, columns, channels, config.kernel_size, inputs=taps)
        self.conv_bias = weights(number, columns, inputs=taps)
        self.mixin_weight = weights(number, columns, inputs=1)
        self.out_weight = weights(number, channels, channels, inputs=channels)
        self.out_bias = weights(number, channels, inputs=channels)
        self.head_weight = weights(outputs, channels, inputs=channels)
        self.head_bias = weights(outputs, inputs=channels)

    def forward(self, x: Tensor, signal: Tensor, total: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the layers make of it, later by their history, as all times are that they hear.

        Args:
            x: (B, inputs, T) of the array before.
            signal: (B, 1, T) itself.
            total: (B, C, T) of the heads before; None: there is none.

        Returns:
            x (B, C, T - history) and the head (B, outputs, T - history).
        """
        x = functional.conv1d(x, self.input_weight[..., None])
        for n, dilation in enumerate(self.config.dilations):
            a = functional.conv1d(x, self.conv_weight[n], self.conv_bias[n], dilation=dilation)
            length = a.shape[2]
            a = a + self.mixin_weight[n][:, None] * signal[..., signal.shape[2] - length :]
            if self.config.gated:
                filters, gates = a.chunk(2, dim=1)
                z = torch.tanh(filters) * torch.sigmoid(gates)
            else:
                z = torch.tanh(a)
            total = z if total is None else total[..., total.shape[2] - length :] + z
            out = functional.conv1d(z, self.out_weight[n][..., None], self.out_bias[n])
            x = x[..., x.shape[2] - length :] + out
        assert total is not None
        return x, functional.conv1d(total, self.head_weight[..., None], self.head_bias)


class Amplifier(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="wavenet-kernels",
    tags=["audio-to-audio", "wavenet", "amplifier"],
    license="mit",
):
    """A WaveNet from a signal to what a device makes of it, for players who hear it at once.

    Layers of a dilated convolution to which the signal itself is added, tanh (gated or not) and a
    1x1 back into the residual; the sum of an array's activations goes into the next array's, and
    the last one's is the output. It is the network of Neural Amp Modeler, whose files
    `wavenet.convert.load_checkpoint` reads, and which the C library plays
    (`wavenet.networks.runtime.amplifier_file`).

    Args:
        config: sizes; see `AmplifierConfig`. The default is that engine's usual network.

    Save with ``model.save_pretrained(folder)`` (model.safetensors, config.json) and load with
    ``Amplifier.from_pretrained(folder)``.

    Example::

        model = wavenet.convert.load_checkpoint("clean.nam")
        played = model(guitar)
    """

    def __init__(self, config: AmplifierConfig) -> None:
        super().__init__()
        self.config = config
        channels = [array.channels for array in config.arrays]
        self.arrays = nn.ModuleList(
            Layers(*sizes)
            for sizes in zip(config.arrays, [1, *channels], [*channels[1:], 1], strict=False)
        )

    @property
    def receptive_field(self) -> int:
        """Samples that one depends on, itself among them."""
        return self.config.receptive_field

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.receptive_field / self.config.sample_rate

    def forward(self, waveform: Tensor) -> Tensor:
        """What the device makes of a signal that silence was before.

        Args:
            waveform: (B, T) floats, T from 1.

        Returns:
            (B, T), each sample of those up to it.

        Raises:
            DataError: an argument that doesn't fit.
        """
        require_tensor("waveform", waveform, "(B, T)")
        if waveform.ndim != 2 or waveform.shape[1] == 0:
            raise DataError(f"waveform is {tuple(waveform.shape)}; accepted is (B, T), T from 1")
        require_floats("waveform", waveform)
        signal = functional.pad(waveform[:, None], (self.receptive_field - 1, 0))
        x, total = signal, None
        for array in self.arrays:
            x, total = array(x, signal[..., signal.shape[2] - x.shape[2] :], total)
        assert total is not None
        return self.config.scale * total[:, 0]
