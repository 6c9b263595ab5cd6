"""wavenet_vocoder's network from its formulas, in plain float64, and files as it writes them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
R, D, S, LAYERS, STACKS, M, G = 6, 4, 5, 4, 2, 3, 2


def hparams(first: bool = False, **changed: Any) -> dict[str, Any]:
    """Of a network of a few channels, 16 samples a frame."""
    common = {
        "name": "wavenet_vocoder",
        "input_type": "raw",
        "quantize_channels": 65536,
        "sample_rate": 8000,
        "out_channels": 6,
        "layers": LAYERS,
        "stacks": STACKS,
        "kernel_size": 3,
        "cin_channels": M,
        "num_mels": M,
        "gin_channels": -1,
        "fft_size": 64,
        "hop_size": 16,
        "fmin": 125,
        "fmax": 3800,
        "upsample_conditional_features": True,
    }
    if first:
        common |= {"log_scale_min": math.log(1e-14), "legacy": True, "upsample_scales": [4, 4]}
        common |= {"freq_axis_kernel_size": 3}
    else:
        common |= {"output_distribution": "Logistic", "log_scale_min": -16.0, "cin_pad": 2}
        common |= {"upsample_params": {"upsample_scales": [4, 4]}, "global_gain_scale": 1.0}
    return {**common, **changed}


def weights_of(hp: dict[str, Any], first: bool = False) -> Weights:
    """Random plain weights by their names, in float64."""
    torch.manual_seed(len(str(hp)))
    made: Weights = {}

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        fan = math.prod(shape[1:])
        made[f"{name}.weight"] = torch.randn(shape, dtype=torch.float64) / fan**0.5
        if bias:
            made[f"{name}.bias"] = 0.3 * torch.randn(shape[0], dtype=torch.float64)

    inputs = hp["out_channels"] if hp["input_type"] == "mulaw-quantize" else 1
    layer("first_conv", R, inputs, 1)
    for n in range(hp["layers"]):
        layer(f"conv_layers.{n}.conv", 2 * D, R, hp["kernel_size"])
        if hp["cin_channels"] > 0:
            layer(f"conv_layers.{n}.conv1x1c", 2 * D, hp["cin_channels"], 1, bias=first)
        if hp["gin_channels"] > 0:
            layer(f"conv_layers.{n}.conv1x1g", 2 * D, hp["gin_channels"], 1, bias=first)
        layer(f"conv_layers.{n}.conv1x1_out", R, D, 1)
        layer(f"conv_layers.{n}.conv1x1_skip", S, D, 1)
    layer("last_conv_layers.1", S, S, 1)
    layer("last_conv_layers.3", hp["out_channels"], S, 1)
    if hp.get("use_speaker_embedding"):
        made["embed_speakers.weight"] = torch.randn(
            hp["n_speakers"], hp["gin_channels"], dtype=torch.float64
        )
    if hp["cin_channels"] > 0 and hp["upsample_conditional_features"]:
        if first:
            for j in range(2):
                layer(f"upsample_conv.{2 * j}", 1, 1, 3, 4)
        else:
            parameters = hp["upsample_params"]
            inside = hp.get("upsample_net", "ConvInUpsampleNetwork") == "ConvInUpsampleNetwork"
            if inside:
                mels, pad = hp["cin_channels"], hp["cin_pad"]
                layer("upsample_net.conv_in", mels, mels, 2 * pad + 1, bias=False)
            prefix = "upsample_net.upsample." if inside else "upsample_net."
            step = 2 if parameters.get("upsample_activation", "none") == "none" else 3
            for j, scale in enumerate(parameters["upsample_scales"]):
                k = parameters.get("freq_axis_kernel_size", 1)
                layer(f"{prefix}up_layers.{1 + step * j}", 1, 1, k, 2 * scale + 1, bias=False)
    return made


def upsampled(w: Weights, hp: dict[str, Any], c: Tensor, first: bool) -> Tensor:
    """Frames (B, M, F + 2 cin_pad) -> (B, M, F hop)."""
    if not hp["upsample_conditional_features"]:
        return c.repeat_interleave(hp["hop_size"], dim=2)
    if first:
        c = c[:, None]
        for j in range(2):
            name = f"upsample_conv.{2 * j}"
            c = F.conv_transpose2d(
                c, w[f"{name}.weight"], w[f"{name}.bias"], stride=(1, 4), padding=(1, 0)
            ).relu()
        return c[:, 0]
    cut = hp["cin_pad"] * hp["hop_size"]
    if "upsample_net.conv_in.weight" in w:
        c, cut = F.conv1d(c, w["upsample_net.conv_in.weight"]), 0
    parameters = hp["upsample_params"]
    names = sorted(name for name in w if "up_layers" in name)
    c = c[:, None]
    for name, scale in zip(names, parameters["upsample_scales"], strict=True):
        c = F.interpolate(c, scale_factor=(1, scale), mode="nearest")
        c = F.conv2d(c, w[name], padding=((w[name].shape[2] - 1) // 2, scale))
        if parameters.get("upsample_activation", "none") != "none":
            made = getattr(torch.nn, parameters["upsample_activation"])
            c = made(**parameters.get("upsample_activation_params", {}))(c)
    return c[:, 0, :, cut : c.shape[3] - cut]


def forward(
    w: Weights,
    hp: dict[str, Any],
    x: Tensor,
    c: Tensor | None,
    g: Tensor | None,
    first: bool = False,
) -> Tensor:
    """x (B, 1 or A, T), c frames, g ids (B, 1) or vectors (B, gin, 1) -> (B, out, T)."""
    h = F.conv1d(x, w["first_conv.weight"], w["first_conv.bias"])
    if c is not None:
        c = upsampled(w, hp, c, first)
    if g is not None and "embed_speakers.weight" in w:
        g = F.embedding(g, w["embed_speakers.weight"]).transpose(1, 2)
    skips = None
    for n in range(hp["layers"]):
        name = f"conv_layers.{n}"
        dilation = 2 ** (n % (hp["layers"] // hp["stacks"]))
        padded = F.pad(h, ((hp["kernel_size"] - 1) * dilation, 0))
        a = F.conv1d(padded, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], dilation=dilation)
        for kind, value in (("c", c), ("g", g)):
            if value is not None:
                bias = w.get(f"{name}.conv1x1{kind}.bias")
                a = a + F.conv1d(value, w[f"{name}.conv1x1{kind}.weight"], bias)
        z = a[:, :D].tanh() * a[:, D:].sigmoid()
        s = F.conv1d(z, w[f"{name}.conv1x1_skip.weight"], w[f"{name}.conv1x1_skip.bias"])
        out = F.conv1d(z, w[f"{name}.conv1x1_out.weight"], w[f"{name}.conv1x1_out.bias"])
        h = (h + out) * math.sqrt(0.5)
        if skips is None:
            skips = s
        elif first and hp.get("legacy", True):
            skips = (skips + s) * math.sqrt(0.5)
        else:
            skips = skips + s
    assert skips is not None
    y = skips if first else skips * math.sqrt(1 / hp["layers"])
    y = F.conv1d(y.relu(), w["last_conv_layers.1.weight"], w["last_conv_layers.1.bias"])
    return F.conv1d(y.relu(), w["last_conv_layers.3.weight"], w["last_conv_layers.3.bias"])


def with_weight_norm(w: Weights, how: str) -> Weights:
    """As torch's old or new weight norm names it, of the layers that have it there."""
    made: Weights = {}
    for name, value in w.items():
        if how == "none" or not name.endswith(".weight") or "conv_in" in name or "embed" in name:
            made[name] = value
            continue
        layer = name.removesuffix("weight")
        size = value.flatten(1).norm(dim=1).view(-1, *[1] * (value.dim() - 1))
        g, v = ("weight_g", "weight_v")
        if how == "new":
            g, v = (f"parametrizations.weight.original{i}" for i in (0, 1))
        made[layer + g], made[layer + v] = size, value * 1.7
    return made
