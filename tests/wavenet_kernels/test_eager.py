"""Stacks with the weights of WaveNets as others write them compute what those do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from wavenet_kernels.nn import EagerLayer, from_eager, require_agreement
from wavenet_kernels.ops._heard import draw_kept

R, D, S, C, G, T = 6, 4, 5, 3, 2, 40


def old_norm(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning):
        return weight_norm(layer)


NORMS = {"none": lambda layer: layer, "old": old_norm, "new": parametrizations.weight_norm}


class GLU(nn.Module):
    """wavenet_vocoder's ResidualConv1dGLU, by the names and formulas of its modules.py."""

    def __init__(self, dilation: int, norm, *, causal: bool = True, dropout=0.0) -> None:
        super().__init__()
        self.causal, self.dropout = causal, dropout
        padding = 2 * dilation if causal else dilation
        self.conv = norm(nn.Conv1d(R, 2 * D, 3, padding=padding, dilation=dilation))
        self.conv1x1c = norm(nn.Conv1d(C, 2 * D, 1, bias=False))
        self.conv1x1g = norm(nn.Conv1d(G, 2 * D, 1, bias=False))
        self.conv1x1_out = norm(nn.Conv1d(D, R, 1))
        self.conv1x1_skip = norm(nn.Conv1d(D, S, 1))

    def forward(self, x: Tensor, c: Tensor | None, g: Tensor | None) -> tuple[Tensor, Tensor]:
        residual = x
        x = nn.functional.dropout(x, p=self.dropout, training=self.training)
        x = self.conv(x)
        x = x[:, :, : residual.size(-1)] if self.causal else x
        a, b = x.split(x.size(1) // 2, dim=1)
        for value, layer in ((c, self.conv1x1c), (g, self.conv1x1g)):
            if value is not None:
                first, second = layer(value).split(D, dim=1)
                a, b = a + first, b + second
        x = torch.tanh(a) * torch.sigmoid(b)
        return (self.conv1x1_out(x) + residual) * 0.5**0.5, self.conv1x1_skip(x)


class WN(nn.Module):
    """WaveGlow's, by the names and formulas of its glow.py; `split`: its first layout."""

    def __init__(self, norm, *, split: bool = False, layers: int = 3) -> None:
        super().__init__()
        self.n_channels = R
        self.start, self.end = norm(nn.Conv1d(2, R, 1)), nn.Conv1d(R, 4, 1)
        self.in_layers = nn.ModuleList(
            norm(nn.Conv1d(R, 2 * R, 3, dilation=2**i, padding=2**i)) for i in range(layers)
        )
        if split:
            self.cond_layers = nn.ModuleList(norm(nn.Conv1d(C, 2 * R, 1)) for _ in range(layers))
            self.res_layers = nn.ModuleList(norm(nn.Conv1d(R, R, 1)) for _ in range(layers - 1))
            self.skip_layers = nn.ModuleList(norm(nn.Conv1d(R, R, 1)) for _ in range(layers))
        else:
            self.cond_layer = norm(nn.Conv1d(C, 2 * R * layers, 1))
            self.res_skip_layers = nn.ModuleList(
                norm(nn.Conv1d(R, R if i == layers - 1 else 2 * R, 1)) for i in range(layers)
            )

    def forward(self, audio: Tensor, spect: Tensor) -> Tensor:
        audio = self.start(audio)
        output = torch.zeros_like(audio)
        for i, layer in enumerate(self.in_layers):
            a = layer(audio)
            if hasattr(self, "cond_layer"):
                a = a + self.cond_layer(spect).chunk(len(self.in_layers), dim=1)[i]
            else:
                a = a + self.cond_layers[i](spect)
            z = torch.tanh(a[:, :R]) * torch.sigmoid(a[:, R:])
            if hasattr(self, "res_skip_layers"):
                made = self.res_skip_layers[i](z)
                audio = audio + made[:, :R] if made.shape[1] > R else audio
                output = output + made[:, -R:]
            else:
                audio = audio + self.res_layers[i](z) if i < len(self.res_layers) else audio
                output = output + self.skip_layers[i](z)
        return self.end(output)


class FusedWN(nn.Module):
    """The same with its layers in one stack: what somebody would write."""

    def __init__(self, theirs: WN) -> None:
        super().__init__()
        self.start, self.layers, self.end = theirs.start, from_eager(theirs), theirs.end

    def forward(self, audio: Tensor, spect: Tensor) -> Tensor:
        return self.end(self.layers(self.start(audio), spect)[1])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("causal", [True, False])
def test_wavenet_vocoders_layers(norm, causal):
    layers = nn.ModuleList(GLU(2**i, NORMS[norm], causal=causal) for i in range(3))
    fused = from_eager(layers)

    def eager(x, c, g):
        skips = 0
        for layer in layers:
            x, skip = layer(x, c, g)
            skips = skips + skip
        return x, skips

    x, c, g = torch.randn(2, R, T), torch.randn(2, C, T), torch.randn(2, G, 1)
    require_agreement(fused, eager, x, c, g)
    require_agreement(fused, eager, x, None, g)
    with torch.no_grad():
        layers[1].conv1x1_skip.bias += 1
    with pytest.raises(ValueError, match="output 1 is not the same: error 1"):
        require_agreement(fused, eager, x, c, g)


def test_a_step_embedding_of_layers_that_were_taken_over():
    layers = nn.ModuleList(GLU(2**i, NORMS["none"], causal=False) for i in range(3))
    fused = from_eager(layers)

    def eager(x, c, g, step):
        skips = 0
        for layer, embedding in zip(layers, step.chunk(3, dim=1), strict=True):
            residual, more = layer(x + embedding, c, g)
            x = residual - embedding * 0.5**0.5
            skips = skips + more
        return x, skips

    given = torch.randn(2, R, T), torch.randn(2, C, T), torch.randn(2, G, 1)
    step = torch.randn(2, 3 * R, 1)
    ours, theirs = fused(*given, step), eager(*given, step)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected)


def test_what_wavenet_vocoders_layers_drop_in_training(monkeypatch):
    layers = nn.ModuleList(GLU(2**i, NORMS["none"], dropout=0.3) for i in range(3))
    fused = from_eager(layers)
    assert fused.training and fused.stack.dropout == 0.3
    assert not from_eager(layers.eval()).training
    assert from_eager(layers, dropout=0.1).stack.dropout == 0.1
    assert from_eager([GLU(1, NORMS["none"], dropout=nn.Dropout(0.2))]).stack.dropout == 0.2
    layers.train()
    x, g = torch.randn(2, R, T), torch.randn(2, G, 1)
    torch.manual_seed(4)
    kept = iter(draw_kept("", x, 3, 0.3))
    torch.manual_seed(4)
    residual, skip = fused(x, None, g)
    monkeypatch.setattr(nn.functional, "dropout", lambda x, p, training: x * next(kept) / (1 - p))
    skips = 0
    for layer in layers:
        x, more = layer(x, None, g)
        skips = skips + more
    torch.testing.assert_close(residual, x)
    torch.testing.assert_close(skip, skips)
    with pytest.raises(ValueError, match="fused drops 0.3 at random; accepted is a module in eval"):
        require_agreement(fused, fused, x)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_waveglows_network(norm, split, layers):
    theirs = WN(NORMS[norm], split=split, layers=layers)
    require_agreement(FusedWN(theirs), theirs, torch.randn(2, 2, T), torch.randn(2, C, T))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("linear", [True, False])
def test_filters_and_gates_of_their_own_and_lists_by_layer(bias, together, linear):
    dilations = (1, 2, 4)
    filters, gates = (
        nn.ModuleList(nn.Conv1d(R, D, 2, dilation=d, bias=bias) for d in dilations)
        for _ in range(2)
    )

    def one(channels: int) -> nn.Module:
        return nn.Linear(D, channels, bias) if linear else nn.Conv1d(D, channels, 1, bias=bias)

    outs = [one(R + S) if together else (one(R), one(S)) for _ in dilations]
    told = [EagerLayer((a, b), out) for a, b, out in zip(filters, gates, outs, strict=True)]

    def apply(layer, z):
        return layer(z.transpose(1, 2)).transpose(1, 2) if linear else layer(z)

    def eager(x):
        skips = 0
        for a, b, out, d in zip(filters, gates, outs, dilations, strict=True):
            padded = nn.functional.pad(x, (d, 0))
            z = torch.tanh(a(padded)) * torch.sigmoid(b(padded))
            made = apply(out, z) if together else torch.cat([apply(o, z) for o in out], dim=1)
            x, skips = x + made[:, :R], skips + made[:, R:]
        return x, skips

    require_agreement(from_eager(told), eager, torch.randn(2, R, T))


def test_weights_are_copies_where_and_as_wide_as_theirs():
    layer = EagerLayer(nn.Conv1d(R, 2 * D, 2).double(), (nn.Conv1d(D, R, 1).double(), None))
    fused = from_eager([layer])
    assert fused.stack.conv_weight.dtype == torch.float64 and fused.local is None
    assert fused.stack.conv_weight.data_ptr() != layer.conv.weight.data_ptr()
    assert fused(torch.zeros(1, R, 3, dtype=torch.float64))[1].shape == (1, 0, 3)
    with pytest.raises(ValueError, match="local is given; accepted is None"):
        fused(torch.zeros(1, R, 3, dtype=torch.float64), torch.zeros(1, C, 3))


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([], "layers is empty"),
        (nn.Linear(2, 2), "layers is a Linear; accepted are WaveGlow's WN"),
        ([nn.Linear(2, 2)], "a Linear has no module conv"),
        (
            [GLU(1, NORMS["none"], dropout=p) for p in (0.1, 0.2)],
            "layers drop [0.1, 0.2]; accepted is one number",
        ),
        (
            [EagerLayer(nn.Conv1d(R, 2 * D, 2, groups=2), nn.Conv1d(D, R, 1))],
            "the convolution of layer 0 has groups 2; accepted is 1",
        ),
        (
            [EagerLayer(nn.Conv1d(R, 2 * D, 2), nn.Conv1d(R, R, 1))],
            "a 1x1 of layer 0 has shape (6, 6, 1); accepted is (out, 4, 1)",
        ),
        (
            [EagerLayer((nn.Conv1d(R, D, 2), nn.Conv1d(R, D, 2, dilation=2)), nn.Conv1d(D, R, 1))],
            "filter and gate of layer 0 have dilations [1, 2]",
        ),
        (
            [EagerLayer(nn.Conv1d(R, 2 * D, k), nn.Conv1d(D, R, 1)) for k in (2, 3)],
            "layer 1 has a convolution of shape (8, 6, 3), layer 0 of (8, 6, 2)",
        ),
        (
            [EagerLayer(nn.Conv1d(R, 2 * D, 2), (nn.Conv1d(D, D, 1), nn.Conv1d(D, S, 1)))],
            "the residual of layer 0 has 4 channels; accepted are 6",
        ),
    ],
)
def test_what_no_stack_can_be(layers, sentence):
    with pytest.raises((TypeError, ValueError)) as raised:
        from_eager(layers)
    assert sentence in str(raised.value)
