"""The likelihoods: of the right total, as precise as can be, with gradients everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wavenet.nn import MixtureOfGaussians, MixtureOfLogistics, Softmax
from wavenet_kernels.sampling import uniforms


def _bins(classes):
    return torch.linspace(-1, 1, classes, dtype=torch.float64)[None]


@pytest.mark.parametrize("classes", [2, 256, 65536])
@pytest.mark.parametrize("log_scale", [1.0, -3.0, -9.0, -12.0])
def test_exact_probabilities_sum_to_one(classes, log_scale):
    torch.manual_seed(0)
    parameters = torch.randn(1, 9, 1, dtype=torch.float64)
    parameters[:, 6:] += log_scale
    each = MixtureOfLogistics(3, classes).log_prob(parameters.expand(1, 9, classes), _bins(classes))
    assert each.exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_pixelcnns_edges_do_not_sum_to_one_at_sixteen_bits():
    """The fault that the exact form does not have; figures of both checked independently."""
    for mean, log_scale, total in ((0.0, -1.0, 5.0), (0.95, -3.0, 9.6)):
        one = torch.tensor([0.0, mean, log_scale], dtype=torch.float64)[None, :, None]
        each = MixtureOfLogistics(1, 65536, "pixelcnn").log_prob(
            one.expand(1, 3, 65536), _bins(65536)
        )
        assert each.exp().sum().item() == pytest.approx(total, abs=0.1)


def _original(parameters, y, classes, floor):
    """The formula of wavenet_vocoder, element by element in Python's floats."""
    logits, means, scales = (part.tolist() for part in parameters.chunk(3))
    log_total = math.log(sum(map(math.exp, logits)))
    half, terms = 1 / (classes - 1), []
    for logit, mean, scale in zip(logits, means, scales, strict=True):
        scale = max(scale, floor)
        inverse = math.exp(-scale)
        plus, minus = inverse * (y - mean + half), inverse * (y - mean - half)
        middle = inverse * (y - mean)

        def softplus(v):
            return max(v, 0.0) + math.log1p(math.exp(-abs(v)))

        def sigmoid(v):
            return math.exp(-softplus(-v))

        probability = sigmoid(plus) - sigmoid(minus)
        if y < -0.999:
            term = plus - softplus(plus)
        elif y > 0.999:
            term = -softplus(minus)
        elif probability > 1e-5:
            term = math.log(max(probability, 1e-12))
        else:
            term = middle - scale - 2 * softplus(middle) - math.log((classes - 1) / 2)
        terms.append(term + logit - log_total)
    largest = max(terms)
    return -largest - math.log(sum(math.exp(term - largest) for term in terms))


@pytest.mark.parametrize("classes", [256, 65536])
def test_pixelcnns_formula(classes):
    torch.manual_seed(1)
    parameters = torch.randn(1, 12, 200, dtype=torch.float64)
    parameters[:, 8:] = parameters[:, 8:] * 4 - 5
    y = (torch.rand(1, 200, dtype=torch.float64) * 2.2 - 1.1).clamp(-1, 1)
    found = MixtureOfLogistics(4, classes, "pixelcnn", -7.0).nll(parameters, y)
    expected = [_original(parameters[0, :, t], y[0, t].item(), classes, -7.0) for t in range(200)]
    assert torch.allclose(found[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def _awkward(dtype=torch.float64, n=4000):
    """Means in and outside of the range, scales from far below a bin to far above the range."""
    torch.manual_seed(2)
    parameters = torch.randn(1, 12, n, dtype=torch.float32)
    parameters[:, 8:] = torch.rand(1, 4, n) * 20 - 18
    y = (torch.rand(1, n) * 2.2 - 1.1).clamp(-1, 1)
    return parameters.to(dtype), y.to(dtype)


def test_exact_in_float32():
    wide, narrow = (MixtureOfLogistics(4).nll(*_awkward(d)) for d in (torch.float64, torch.float32))
    assert narrow.dtype == torch.float32
    # The digits of the parameters themselves: a large likelihood loses in proportion.
    error = (narrow.double() - wide).abs() / wide.abs().clamp_min(1.0)
    assert error.max() < 2e-5 and error.mean() < 5e-7


@pytest.mark.parametrize("edges", ["exact", "pixelcnn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_finite_everywhere(edges, dtype):
    parameters, y = _awkward(dtype)
    parameters[:, 8:, ::3] = -60.0 if dtype == torch.float16 else -1e4
    parameters[:, 8:, 1::3] = 60.0
    y[:, ::5], y[:, 1::5] = -1.0, 1.0
    parameters.requires_grad_()
    floor = -10.0 if dtype == torch.float16 else -32.0  # a gradient of e^32 is beyond its range
    with torch.autocast("cpu", torch.bfloat16):
        loss = MixtureOfLogistics(4, edges=edges, log_scale_min=floor).nll(parameters, y)
    assert loss.dtype == torch.float32 and loss.isfinite().all()
    loss.mean().backward()
    assert parameters.grad.isfinite().all()


@pytest.mark.parametrize(
    "distribution",
    [MixtureOfLogistics(2, 256), MixtureOfGaussians(), MixtureOfGaussians(2), Softmax(6)],
    ids=lambda distribution: f"{type(distribution).__name__}{distribution.channels}",
)
def test_gradients_are_right(distribution):
    torch.manual_seed(3)
    parameters = torch.randn(1, distribution.channels, 7, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[-1.0, -0.999, -0.3, 0.0, 0.5, 0.998, 1.0]], dtype=torch.float64)
    target = torch.arange(7)[None] % 6 if isinstance(distribution, Softmax) else y
    assert torch.autograd.gradcheck(lambda p: distribution.nll(p, target), parameters)


def test_gaussians_are_those_of_torch():
    torch.manual_seed(4)
    p, y = torch.randn(2, 9, 5, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64)
    one = torch.distributions.Normal(p[:, 0], p[:, 1].exp())
    assert torch.allclose(MixtureOfGaussians().log_prob(p[:, :2], y), one.log_prob(y))
    with_logit = torch.cat([p[:, 5:6], p[:, :2]], dim=1)
    assert torch.allclose(MixtureOfGaussians().log_prob(with_logit, y), one.log_prob(y))
    rows = p.transpose(1, 2)
    mixed = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=rows[..., :3]),
        torch.distributions.Normal(rows[..., 3:6], rows[..., 6:].exp()),
    )
    assert torch.allclose(MixtureOfGaussians(3).log_prob(p, y), mixed.log_prob(y))


def test_floors_count_in_the_likelihood():
    low, floor = torch.tensor([0.0, -30.0])[None, :, None], torch.tensor([0.0, -5.0])[None, :, None]
    y = torch.tensor([[0.01]])
    of = MixtureOfGaussians(log_scale_min=-5.0)
    assert torch.equal(of.nll(low, y), of.nll(floor, y))


def test_samples_are_of_the_classes_and_the_temperature():
    torch.manual_seed(5)
    u = uniforms(1, 50, batch=2)
    codes = Softmax(7).sample(torch.randn(2, 7, 50), u)
    assert codes.dtype == torch.int64 and codes.shape == (2, 50) and codes.max() < 7
    parameters = torch.cat([torch.zeros(2, 2, 50), torch.full((2, 1, 50), -4.0)], dim=1)
    of = MixtureOfLogistics(1)
    assert torch.allclose(of.sample(parameters, u, 0.5), 0.5 * of.sample(parameters, u))
    half = of.sample(parameters.bfloat16(), u)
    assert half.dtype == torch.float32


def test_what_does_not_fit_is_said():
    of = MixtureOfLogistics(2)
    with pytest.raises(ValueError, match=r"parameters has shape \(1, 5, 3\); accepted is \(B, 6"):
        of.nll(torch.zeros(1, 5, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"target has shape \(1, 4\); accepted is \(1, 3\)"):
        of.nll(torch.zeros(1, 6, 3), torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"uniforms has shape \(1, 3\); accepted is \(1, 4, 3\)"):
        of.sample(torch.zeros(1, 6, 3), torch.zeros(1, 3))
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature is .*; accepted is more than 0"):
            of.sample(torch.zeros(1, 6, 3), torch.zeros(1, 4, 3), wrong)
    with pytest.raises(ValueError, match="edges is 'round'; accepted is one of"):
        MixtureOfLogistics(edges="round")
    with pytest.raises(ValueError, match="log_scale_min is -50; accepted is from -40"):
        MixtureOfLogistics(log_scale_min=-50)


def test_targets_and_fields_of_another_kind_are_said():
    codes, numbers = Softmax(16), MixtureOfLogistics(2)
    for call, sentence in (
        (lambda: codes.nll(torch.zeros(1, 16, 2), torch.zeros(1, 2)), "target is torch.float32"),
        (
            lambda: codes.nll(torch.zeros(1, 16, 2), torch.tensor([[3, 16]])),
            "target holds codes 3 to 16; accepted are 0 to 15",
        ),
        (
            lambda: numbers.nll(torch.zeros(1, 6, 2), torch.tensor([[3, 16]])),
            "MixtureOfLogistics: target is torch.int64; accepted are floats",
        ),
        (
            lambda: MixtureOfGaussians().nll(torch.zeros(1, 2, 2), [[0.0, 0.0]]),
            "MixtureOfGaussians: target is a list; accepted is a tensor",
        ),
        (lambda: Softmax(2.5), "classes is 2.5; accepted is an int from 2"),
        (lambda: MixtureOfLogistics(1.5), "mixtures is 1.5; accepted is an int from 1"),
        (lambda: MixtureOfGaussians(log_scale_min="a"), "log_scale_min is 'a'; accepted is from"),
        (
            lambda: MixtureOfLogistics(sampling_scale_floor="a"),
            "sampling_scale_floor is 'a'; accepted is None or a number",
        ),
        (
            lambda: numbers.sample(torch.zeros(1, 6, 2), torch.zeros(1, 4, 2), "hot"),
            "temperature is 'hot'; accepted is more than 0",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    int32 = torch.tensor([[3, 15]], dtype=torch.int32)
    assert torch.equal(
        codes.nll(torch.zeros(1, 16, 2), int32), codes.nll(torch.zeros(1, 16, 2), int32.long())
    )


def test_no_code_is_passed_over():
    """Neither the -100 that torch's cross-entropy gives no loss for."""
    with pytest.raises(ValueError, match="target holds codes -100 to 3; accepted are 0 to 15"):
        Softmax(16).nll(torch.zeros(1, 16, 2), torch.tensor([[3, -100]]))


def test_a_loss_of_codes_is_taken_apart_by_vmap():
    parameters, target = torch.randn(3, 16, 5), torch.randint(16, (3, 5))
    each = torch.vmap(lambda p, y: Softmax(16).nll(p[None], y[None])[0])(parameters, target)
    assert torch.allclose(each, Softmax(16).nll(parameters, target))


@pytest.mark.parametrize("of", [np.int64, np.uint8, torch.tensor])
def test_sizes_of_numpy_and_torch(of):
    assert Softmax(of(16)).channels == 16 and MixtureOfLogistics(of(2)).channels == 6
