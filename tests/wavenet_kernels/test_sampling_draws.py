"""Philox against its published vectors, and draws against the densities they are drawn from."""

from __future__ import annotations

import math

import pytest
import torch

from wavenet_kernels.sampling import draw_class, draw_gaussian, draw_logistic, philox, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known-answer vectors of Random123
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0_A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox(counter, key, words):
    assert philox(torch.tensor(counter), key).tolist() == words


def test_a_signal_and_a_stretch_of_it_are_drawn_alone_as_with_others():
    whole = uniforms(7, 50, batch=6)
    assert whole.shape == (6, 4, 50) and whole.dtype == torch.float64
    assert torch.equal(uniforms(7, 50, first_signal=5)[0], whole[5])
    assert torch.equal(uniforms(7, 20, batch=6, start=30), whole[:, :, 30:])
    assert not torch.equal(uniforms(8, 50), whole[:1])
    assert uniforms(7, 3, start=2**32 - 1)[0, 0, 1] != uniforms(7, 1)[0, 0, 0]
    assert 0 < uniforms(0, 100_000).min() and uniforms(0, 100_000).max() < 1


def _kolmogorov_smirnov(values, cdf):
    """The largest distance of the two distribution functions, times sqrt(n)."""
    ordered = cdf(values.double().sort().values)
    steps = torch.arange(len(values) + 1, dtype=torch.float64) / len(values)
    return max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()) * len(values) ** 0.5


N = 40_000
LIMIT = 1.95  # of Kolmogorov's distribution at 0.1 %


def _many(parameters):
    return torch.tensor(parameters, dtype=torch.float32)[None, :, None].expand(1, -1, N)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logistics_follow_their_density(temperature):
    logits, means, scales = [0.3, -0.5], [-0.2, 0.1], [-4.0, -5.0]
    x = draw_logistic(_many(logits + means + scales), uniforms(3, N).float(), temperature)[0]
    weights = (torch.tensor(logits) / temperature).softmax(0).double()

    def cdf(x):
        parts = [
            w * torch.sigmoid((x - m) / (temperature * math.exp(s)))
            for w, m, s in zip(weights, means, scales, strict=True)
        ]
        return sum(parts)

    assert _kolmogorov_smirnov(x, cdf) < LIMIT


@pytest.mark.parametrize("parameters", [[0.1, -3.0], [0.4, 0.0, -0.1, 0.2, -3.0, -4.0]])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gaussians_follow_their_density(parameters, temperature):
    x = draw_gaussian(_many(parameters), uniforms(5, N).float(), temperature)[0]
    count = max(1, len(parameters) // 3)
    logits = parameters[:count] if count > 1 else [0.0]
    weights = (torch.tensor(logits) / temperature).softmax(0).double()
    pairs = zip(weights, parameters[-2 * count : -count], parameters[-count:], strict=True)
    normals = [(w, torch.distributions.Normal(m, temperature * math.exp(s))) for w, m, s in pairs]
    assert _kolmogorov_smirnov(x, lambda x: sum(w * n.cdf(x) for w, n in normals)) < LIMIT


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_classes_follow_their_probabilities(temperature):
    logits = torch.linspace(-1.5, 1.5, 16)
    drawn = draw_class(_many(logits.tolist()), uniforms(11, N).float(), temperature)[0]
    expected = (logits / temperature).softmax(0).double() * N
    chi_squared = ((drawn.bincount(minlength=16) - expected) ** 2 / expected).sum()
    assert chi_squared < 37.7  # of 15 degrees of freedom at 0.1 %


def test_a_class_without_probability_is_never_chosen():
    logits = torch.tensor([-math.inf, 0.0, -math.inf])[None, :, None].expand(1, 3, 2)
    u = torch.tensor([0.0, 1.0]).expand(1, 4, 2)
    assert draw_class(logits, u).tolist() == [[1, 1]]


def test_what_uniforms_at_their_ends_give_is_finite():
    u = torch.tensor([0.0, 1.0]).expand(1, 4, 2)
    wide = torch.tensor([0.0, 5.0])[None, :, None].expand(1, 2, 2)
    assert draw_gaussian(wide, u).abs().max() <= 1
    assert draw_logistic(torch.zeros(1, 3, 2), u).tolist() == [[-1.0, 1.0]]


def test_a_floor_of_the_scales():
    narrow, u = _many([0.0, 0.25, -30.0]), uniforms(1, N).float()
    assert (draw_logistic(narrow, u) - 0.25).abs().max() < 1e-6
    assert 0.01 < draw_logistic(narrow, u, scale_floor=-4.0).std() < 0.05
