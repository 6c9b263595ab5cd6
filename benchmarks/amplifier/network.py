"""The other engine's usual network ("standard"), with weights drawn at random, for all contenders.

Two chains of layers hear each sample x three times: as the first chain's input, in every layer's
convolution, and, by way of the first chain, as the second's input (float32; C channels):

    a = sum_k W_k h[t - (K-1-k) d] + b + m x[t]     z = tanh(a)     h' = h + V z + v
    first chain    h = r x                 s = H sum of z
    second chain   h = Q (first's h')      y = scale * (G (s + sum of z) + g)

The gated form has z = tanh(a_f) * sigmoid(a_g).

The C library has such networks as a kind of file, converted from the engine's. The gated form it
also runs as two plain stacks. x goes along as one more residual channel, which no layer changes, so
that m is a weight of the last tap. Products of what is linear are made beforehand: the first
stack's skip sum is scale * G H z and Q V z, the second one's scale * G z.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wavenet.convert import load_checkpoint
from wavenet.networks.amplifier import Amplifier
from wavenet.networks.runtime import amplifier_file, stack_file
from wavenet_kernels.nn import ResidualStack

RATE = 48000
TAPS, DILATIONS = 3, tuple(2**i for i in range(10))
CHANNELS = (16, 8)


@dataclass
class Chain:
    """Of layers: what mixes its input and its head, and each layer's weights, L first."""

    rechannel: np.ndarray  # (C, inputs)
    conv_weight: np.ndarray  # (L, C or 2C, C, K)
    conv_bias: np.ndarray  # (L, C or 2C)
    mixin: np.ndarray  # (L, C or 2C)
    out_weight: np.ndarray  # (L, C, C)
    out_bias: np.ndarray  # (L, C)
    head: np.ndarray  # (outputs, C)


@dataclass
class Network:
    chains: tuple[Chain, Chain]
    head_bias: float
    scale: float
    gated: bool

    @classmethod
    def drawn(cls, gated: bool) -> Network:
        """With weights that keep signals in tanh's bend."""
        rng = np.random.default_rng(0)

        def draw(*shape: int, inputs: int) -> np.ndarray:
            return np.float32(rng.uniform(-1, 1, shape) / np.sqrt(inputs))

        def chain(inputs: int, channels: int, outputs: int) -> Chain:
            layers, columns = len(DILATIONS), channels * (1 + gated)
            return Chain(
                rechannel=draw(channels, inputs, inputs=inputs),
                conv_weight=draw(layers, columns, channels, TAPS, inputs=channels * TAPS),
                conv_bias=draw(layers, columns, inputs=channels),
                mixin=draw(layers, columns, inputs=1),
                out_weight=draw(layers, channels, channels, inputs=channels * 4),
                out_bias=draw(layers, channels, inputs=channels * 4),
                head=draw(outputs, channels, inputs=channels * layers),
            )

        first, second = CHANNELS
        return cls((chain(1, first, second), chain(first, second, 1)), 0.05, 0.5, gated)

    def operations(self) -> int:
        """Multiplications and additions a sample, as the plain sums have them."""
        tensors = [
            getattr(chain, name).size
            for chain in self.chains
            for name in ("rechannel", "conv_weight", "mixin", "out_weight", "head")
        ]
        return 2 * sum(tensors)

    def exact(self, x: np.ndarray) -> np.ndarray:
        """What the network makes of samples (n,), in float64."""
        h, head = np.float64(x)[None], np.zeros((CHANNELS[0], len(x)))
        for chain in self.chains:
            h = np.float64(chain.rechannel) @ h
            for layer, dilation in enumerate(DILATIONS):
                a = chain.conv_bias[layer][:, None] + np.outer(np.float64(chain.mixin[layer]), x)
                for tap in range(TAPS):
                    late = (TAPS - 1 - tap) * dilation
                    heard = np.pad(h, ((0, 0), (late, 0)))[:, : len(x)]
                    a = a + np.float64(chain.conv_weight[layer, :, :, tap]) @ heard
                z = np.tanh(a[: h.shape[0]])
                if self.gated:
                    z = z / (1 + np.exp(-a[h.shape[0] :]))
                head = head + z
                h = h + np.float64(chain.out_weight[layer]) @ z + chain.out_bias[layer][:, None]
            head = np.float64(chain.head) @ head
        made: np.ndarray = self.scale * (head[0] + self.head_bias)
        return made


def write_theirs(network: Network, path: Path) -> None:
    """As the engine's own file."""
    weights: list[float] = []
    for last, chain in enumerate(network.chains):
        weights += chain.rechannel.ravel().tolist()
        for layer in range(len(DILATIONS)):
            for name in ("conv_weight", "conv_bias", "mixin", "out_weight", "out_bias"):
                weights += getattr(chain, name)[layer].ravel().tolist()
        weights += chain.head.ravel().tolist()
        weights += [network.head_bias] * last
    layers = [
        {
            "input_size": chain.rechannel.shape[1],
            "condition_size": 1,
            "head_size": chain.head.shape[0],
            "channels": chain.rechannel.shape[0],
            "kernel_size": TAPS,
            "dilations": DILATIONS,
            "activation": "Tanh",
            "gated": network.gated,
            "head_bias": bool(last),
        }
        for last, chain in enumerate(network.chains)
    ]
    content = {
        "version": "0.5.4",
        "metadata": {},
        "architecture": "WaveNet",
        "config": {"layers": layers, "head": None, "head_scale": network.scale},
        "weights": [*weights, network.scale],
        "sample_rate": RATE,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def write_ours(theirs: Path, path: Path) -> None:
    """The engine's file as the C library's."""
    model = load_checkpoint(theirs)
    assert isinstance(model, Amplifier)
    path.write_bytes(amplifier_file(model))


def write_stacks(network: Network, folder: Path) -> None:
    """A gated one as two files of stacks, and one of what a sample adds to their inputs."""
    assert network.gated
    folder.mkdir()
    first, second = network.chains
    last = np.float32(network.scale) * second.head  # (1, C) of the second chain
    skips = (np.concatenate([last @ first.head, second.rechannel]), last)
    for number, (chain, skip) in enumerate(zip(network.chains, skips, strict=True)):
        (folder / f"{number}.wavenet").write_bytes(stack_file(_stack(chain, skip)))
    heard = [first.rechannel[:, 0], [1], second.rechannel @ first.rechannel[:, 0], [1]]
    glue = np.concatenate([*heard, [network.scale * network.head_bias]])
    (folder / "glue").write_bytes(np.float32(glue).tobytes())


def _stack(chain: Chain, skip: np.ndarray) -> ResidualStack:
    """The chain's layers, each with the skip of its z; z's own bias is not in the head's sum."""
    layers, channels = chain.out_bias.shape
    stack = ResidualStack(
        channels + 1, channels, len(skip), dilations=DILATIONS, kernel_size=TAPS
    ).requires_grad_(False)
    conv_weight = np.zeros((layers, 2 * channels, channels + 1, TAPS), np.float32)
    conv_weight[:, :, :channels] = chain.conv_weight
    conv_weight[:, :, channels, -1] = chain.mixin
    out_weight = np.zeros((layers, channels + 1 + len(skip), channels), np.float32)
    out_bias = np.zeros(out_weight.shape[:2], np.float32)
    out_weight[:, :channels], out_bias[:, :channels] = chain.out_weight, chain.out_bias
    out_weight[:, channels + 1 :] = skip
    if len(skip) > 1:  # what the next chain hears is of the residual
        heard = skip[1:]
        out_weight[:, channels + 2 :] = heard @ chain.out_weight
        out_bias[:, channels + 2 :] = chain.out_bias @ heard.T
    for name, values in (
        ("conv_weight", conv_weight),
        ("conv_bias", chain.conv_bias),
        ("out_weight", out_weight),
        ("out_bias", out_bias),
    ):
        getattr(stack, name).copy_(torch.from_numpy(values))
    return stack
