"""The first convolution of the network: from samples to residual channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.audio.mulaw import mu_law_compress, mu_law_encode
from wavenet.networks.architecture import Architecture
from wavenet.networks.filterbank import BandEnergies, drop_bands
from wavenet.networks.normalization import MaskedBatchNorm
from wavenet_kernels.nn import CausalConv1d


class Stem(nn.Module):
    """A strided causal convolution over the waveform: (B, T) -> (B, R, ceil(T / stride)).

    Output j is the one whose newest sample is j * stride. The clips' lengths, (B,) in samples,
    which every stem is told, make no difference here.
    """

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.companded = config.input == "mu-law"
        self.conv = CausalConv1d(
            1, config.residual_channels, config.stem_kernel_size, stride=config.stem_stride
        )

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = mu_law_compress(waveform) if self.companded else waveform
        return self.conv(x.unsqueeze(1))


class FilterbankStem(nn.Module):
    """Log energies of learned band filters, mixed: (B, T) -> (B, R, ceil(T / stride)).

    Before anything has been heard there is silence, as long as a step sees: layers after the first
    one pad nothing in time, and a step is the same wherever a signal is cut before it.

    A normalisation counts what a clip alone, of its length, would have: that silence too, and
    nothing of what pads it. Without lengths all of a waveform is the clip.
    """

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.companded = config.input == "mu-law"
        self.bands = BandEnergies(
            config.filters, config.stem_kernel_size, config.filter_stride, config.sample_rate
        )
        self.dropout = config.filter_dropout
        self.before = config.stem_receptive_field - config.stem_kernel_size
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        # One after the other: each layer that halves, then the pairs that its blocks are.
        self.of_group = 1 + 2 * config.filter_blocks
        inputs = 1
        for number in range(config.filter_layers * self.of_group):
            group, place = divmod(number, self.of_group)
            outputs = config.filter_channels * 2**group
            stride = 1 if place else 2
            # A normalisation has a bias of its own.
            bias = config.filter_norm == "none"
            layer = nn.Conv2d(inputs, outputs, 3, stride, padding=(1, 0), bias=bias)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is None:
                self.norms.append(MaskedBatchNorm(outputs))
            else:
                nn.init.zeros_(layer.bias)
                if place and place % 2 == 0:  # unnormalised, a block is nothing at first: sums grow
                    nn.init.zeros_(layer.weight)
            self.layers.append(layer)
            inputs = outputs
        rows = inputs * -(-config.filters // 2**config.filter_layers)
        self.mix = CausalConv1d(rows, config.residual_channels, 1)

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = mu_law_compress(waveform) if self.companded else waveform
        x = self.bands(F.pad(x, (self.before, 0))).to(self.mix.weight.dtype)
        if self.training and self.dropout:
            x = drop_bands(x, self.dropout)
        x = self._layered(x.unsqueeze(1), waveform, lengths)
        return self.mix(x.flatten(1, 2))

    def _layered(self, x: Tensor, waveform: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, 1, bands, times) -> (B, channels, bands, steps), each layer normalised if all are."""
        times = None
        if self.norms:
            if lengths is None:
                lengths = torch.full((len(waveform),), waveform.shape[1], device=waveform.device)
            stride = self.bands.stride
            times = torch.div(lengths + (self.before + stride - 1), stride, rounding_mode="floor")
        before = x
        for number, layer in enumerate(self.layers):
            place = number % self.of_group
            if place % 2:  # the first of a block
                before = x
            x = layer(x)
            if times is not None:
                times = times - 2 if place else torch.div(times - 1, 2, rounding_mode="floor")
                x = self.norms[number](x, times)
            if place and place % 2 == 0:
                x = x + before[..., 4:]  # each newest time: a sound's end is seen like the rest
            x = torch.relu(x)
        return x

    @torch.no_grad()
    def fold(self) -> None:
        """Make the normalisation part of the layers, as it is in evaluation; it is gone then."""
        for layer, norm in zip(self.layers, self.norms, strict=False):
            assert isinstance(layer, nn.Conv2d) and isinstance(norm, MaskedBatchNorm)
            scale, shift = norm.affine()
            layer.weight.mul_(scale[:, None, None, None])
            layer.bias = nn.Parameter(shift)
        self.norms = nn.ModuleList()


class OneHotStem(nn.Module):
    """The same over one-hot mu-law codes, without ever making the one-hot vectors.

    A convolution over one-hot inputs is a sum of rows of its weight, one row a tap.
    """

    CLASSES = 256

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.kernel_size = config.stem_kernel_size
        self.stride = config.stem_stride
        self.weight = nn.Parameter(
            torch.empty(self.kernel_size * self.CLASSES, config.residual_channels)
        )
        self.bias = nn.Parameter(torch.empty(config.residual_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        # One row for each tap is summed, so unit variance needs 1 / taps in each.
        nn.init.normal_(self.weight, std=self.kernel_size**-0.5)
        nn.init.zeros_(self.bias)

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        codes = mu_law_encode(F.pad(waveform, (self.kernel_size - 1, 0)), self.CLASSES)
        taps = codes.unfold(1, self.kernel_size, self.stride)
        rows = taps + torch.arange(self.kernel_size, device=codes.device) * self.CLASSES
        summed = F.embedding_bag(rows.flatten(0, 1), self.weight, mode="sum")
        return (summed + self.bias).view(*rows.shape[:2], len(self.bias)).transpose(1, 2)


def make_stem(config: Architecture) -> nn.Module:
    """The one that a configuration asks for."""
    if config.filters:
        return FilterbankStem(config)
    return OneHotStem(config) if config.input == "one-hot" else Stem(config)
