"""What a network says about one sample: a distribution's likelihood, and values drawn from it.

Parameters are (B, P, T), samples (B, T). Likelihoods are computed in float32 at least, whatever
the parameters' type. Noise comes in as uniform numbers, so that every backend can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet.errors import is_number, is_whole, plain, require_field, require_tensor
from wavenet_kernels.sampling.draws import draw_class, draw_gaussian, draw_logistic

_IGNORED = -(2**62)  # no code: torch would let one pass as of no loss
EDGES = ("exact", "pixelcnn")
LOG_SCALE_MIN = -16.0  # of wavenet_vocoder's recipes for 16-bit sound
LOWEST = -40.0  # the square of e^40 is still a float32


class Distribution(Protocol):
    """What the models and the generation loop need of a distribution."""

    @property
    def channels(self) -> int:
        """P, the parameters of one sample."""

    def nll(self, parameters: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood in nats: (B, P, T), (B, T) -> (B, T) float32 or float64."""

    def log_prob(self, parameters: Tensor, target: Tensor) -> Tensor:
        """The log-likelihood itself."""

    def sample(self, parameters: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        """One value each: (B, P, T), uniforms (B, 4, T) -> (B, T).

        Raises:
            ValueError: shapes that don't fit, or a temperature that is not above 0.
        """


@dataclass(frozen=True)
class Softmax:
    """Any of `classes` codes, by logits (WaveNet paper, section 2.2)."""

    classes: int = 256

    def __post_init__(self) -> None:
        require_field(is_whole(plain(self.classes), 2), self, "classes", "an int from 2")

    @property
    def channels(self) -> int:
        return self.classes

    def nll(self, parameters: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy; target (B, T) int64 codes."""
        _check(self, parameters, target)
        if target.is_floating_point() or target.dtype == torch.bool:
            raise ValueError(f"Softmax: target is {target.dtype}; accepted are int64 codes")
        logits, codes = _wide(parameters), target.long()
        try:
            return F.cross_entropy(logits, codes, reduction="none", ignore_index=_IGNORED)
        except IndexError:  # asked for after all, so that nothing waits for an accelerator
            raise ValueError(
                f"Softmax: target holds codes {int(target.min())} to {int(target.max())}; accepted "
                f"are 0 to {self.classes - 1}"
            ) from None

    def log_prob(self, parameters: Tensor, target: Tensor) -> Tensor:
        return -self.nll(parameters, target)

    def sample(self, parameters: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        """Codes (B, T) int64; logits are divided by the temperature."""
        parameters, uniforms = _for_drawing(self, parameters, uniforms, temperature)
        return draw_class(parameters, uniforms, temperature)


@dataclass(frozen=True)
class MixtureOfLogistics:
    """A mixture of logistics, integrated over the bin of each of `classes` values of [-1, 1].

    Source: Salimans et al. 2017, "PixelCNN++" (arXiv 1701.05517), section 2.1. Parameters are N
    logits, N means, N log scales.

    Attributes:
        mixtures: N.
        classes: values that a sample may have, evenly from -1 to 1; 65,536 for 16 bits.
        edges: "exact": the first bin goes down to minus infinity, the last one up to infinity, so
            that the probabilities sum to 1. "pixelcnn": the original's formula, to compare with its
            runs; its edges are made for 256 classes, and it loses digits between the edges.
        log_scale_min: smaller log scales count as this one in the likelihood.
        sampling_scale_floor: the same where samples are drawn; None: no floor.
    """

    mixtures: int = 10
    classes: int = 65536
    edges: str = "exact"
    log_scale_min: float = LOG_SCALE_MIN
    sampling_scale_floor: float | None = None

    def __post_init__(self) -> None:
        require_field(is_whole(plain(self.classes), 2), self, "classes", "an int from 2")
        require_field(self.edges in EDGES, self, "edges", f"one of {EDGES}")
        _check_mixture(self)

    @property
    def channels(self) -> int:
        return 3 * self.mixtures

    def nll(self, parameters: Tensor, target: Tensor) -> Tensor:
        """Of the bin that the target lies in; target (B, T) float in [-1, 1]."""
        _check(self, parameters, target)
        _check_continuous(self, target)
        logits, means, log_scales = _wide(parameters).chunk(3, dim=1)
        y = target.to(means.dtype).unsqueeze(1)
        terms = self._exact if self.edges == "exact" else self._pixelcnn
        log_probs = terms(y, y - means, log_scales.clamp_min(self.log_scale_min))
        return -torch.logsumexp(log_probs + logits.log_softmax(1), dim=1)

    def log_prob(self, parameters: Tensor, target: Tensor) -> Tensor:
        return -self.nll(parameters, target)

    def sample(self, parameters: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        """(B, T) in [-1, 1]; logits are divided by the temperature, scales multiplied."""
        parameters, uniforms = _for_drawing(self, parameters, uniforms, temperature)
        return draw_logistic(parameters, uniforms, temperature, self.sampling_scale_floor)

    def _exact(self, y: Tensor, distance: Tensor, log_scales: Tensor) -> Tensor:
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)) loses no digits.
        half = 1.0 / (self.classes - 1)
        inverse = (-log_scales).exp()
        below = F.logsigmoid(inverse * (distance + half))  # ln P(x < upper edge)
        above = F.logsigmoid(-inverse * (distance - half))  # ln P(x > lower edge)
        inside = below + above + _log1mexp(2.0 * half * inverse, math.log(2.0 * half) - log_scales)
        return torch.where(y <= half - 1.0, below, torch.where(y >= 1.0 - half, above, inside))

    def _pixelcnn(self, y: Tensor, distance: Tensor, log_scales: Tensor) -> Tensor:
        half = 1.0 / (self.classes - 1)
        inverse = (-log_scales).exp()
        plus, minus = inverse * (distance + half), inverse * (distance - half)
        middle = inverse * distance
        probability = plus.sigmoid() - minus.sigmoid()
        density = middle - log_scales - 2.0 * _softplus(middle) - math.log((self.classes - 1) / 2)
        inside = torch.where(probability > 1e-5, probability.clamp_min(1e-12).log(), density)
        return torch.where(
            y < -0.999,
            F.logsigmoid(plus),
            torch.where(y > 0.999, F.logsigmoid(-minus), inside),
        )


@dataclass(frozen=True)
class MixtureOfGaussians:
    """A density: one Gaussian of a mean and a log scale, or N of logits, means, log scales.

    Of one component, parameters with a logit (three channels) are taken too: it says nothing.

    Attributes:
        mixtures: N.
        log_scale_min, sampling_scale_floor: as of `MixtureOfLogistics`.
    """

    mixtures: int = 1
    log_scale_min: float = LOG_SCALE_MIN
    sampling_scale_floor: float | None = None

    def __post_init__(self) -> None:
        _check_mixture(self)

    @property
    def channels(self) -> int:
        return 2 if self.mixtures == 1 else 3 * self.mixtures

    def nll(self, parameters: Tensor, target: Tensor) -> Tensor:
        """Of the density, not of a bin: it may be below 0. target (B, T) float."""
        parameters = self._without_lone_logit(parameters)
        _check(self, parameters, target)
        _check_continuous(self, target)
        parts = _wide(parameters).chunk(2 if self.mixtures == 1 else 3, dim=1)
        means, log_scales = parts[-2], parts[-1].clamp_min(self.log_scale_min)
        y = target.to(means.dtype).unsqueeze(1)
        scaled = (y - means) * (-log_scales).exp()
        log_probs = -0.5 * scaled.square() - log_scales - 0.5 * math.log(2.0 * math.pi)
        if self.mixtures == 1:
            return -log_probs[:, 0]
        return -torch.logsumexp(log_probs + parts[0].log_softmax(1), dim=1)

    def log_prob(self, parameters: Tensor, target: Tensor) -> Tensor:
        return -self.nll(parameters, target)

    def sample(self, parameters: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        """(B, T) in [-1, 1]; logits are divided by the temperature, scales multiplied."""
        parameters = self._without_lone_logit(parameters)
        parameters, uniforms = _for_drawing(self, parameters, uniforms, temperature)
        return draw_gaussian(parameters, uniforms, temperature, self.sampling_scale_floor)

    def _without_lone_logit(self, parameters: Tensor) -> Tensor:
        lone = self.mixtures == 1 and parameters.dim() == 3 and parameters.shape[1] == 3
        return parameters[:, 1:] if lone else parameters


def _wide(parameters: Tensor) -> Tensor:
    """Half precision has too few digits for a likelihood."""
    return parameters if parameters.dtype == torch.float64 else parameters.float()


def _softplus(x: Tensor) -> Tensor:
    return -F.logsigmoid(-x)  # torch's own softplus is the identity from 20 on


def _log1mexp(x: Tensor, log_x: Tensor) -> Tensor:
    """ln(1 - e^-x) for x > 0, with ln x for where x itself would vanish."""
    small = x < 1e-3
    series = log_x - x / 2.0 + x.square() / 24.0
    return torch.where(small, series, (-torch.expm1(-x.clamp_min(1e-3))).log())


def check_temperature(temperature: float) -> None:
    """Raise ValueError for what is no temperature."""
    if not is_number(temperature) or temperature <= 0.0:
        raise ValueError(
            f"temperature is {temperature!r}; accepted is more than 0 (1 is the model itself; the "
            "likeliest sample at each step, which 0 would be, gives silence or a buzz)"
        )


def _check_mixture(mixture: MixtureOfLogistics | MixtureOfGaussians) -> None:
    require_field(is_whole(plain(mixture.mixtures), 1), mixture, "mixtures", "an int from 1")
    least, floor = mixture.log_scale_min, mixture.sampling_scale_floor
    fits = is_number(least) and least >= LOWEST
    require_field(fits, mixture, "log_scale_min", f"from {LOWEST}")
    fits = floor is None or is_number(floor)
    require_field(fits, mixture, "sampling_scale_floor", "None or a number")


def _check_continuous(distribution: Distribution, target: Tensor) -> None:
    if not target.is_floating_point():
        raise ValueError(
            f"{type(distribution).__name__}: target is {target.dtype}; accepted are floats"
        )


def _check(distribution: Distribution, parameters: Tensor, target: Tensor) -> None:
    name, channels = type(distribution).__name__, distribution.channels
    require_tensor(f"{name}: parameters", parameters, f"(B, {channels}, T)")
    require_tensor(f"{name}: target", target, "(B, T)")
    if parameters.dim() != 3 or parameters.shape[1] != channels:
        raise ValueError(
            f"{name}: parameters has shape {tuple(parameters.shape)}; accepted is "
            f"(B, {channels}, T)"
        )
    expected = (parameters.shape[0], parameters.shape[2])
    if target.shape != expected:
        raise ValueError(
            f"{name}: target has shape {tuple(target.shape)}; accepted is {expected}, a sample for "
            "each position of parameters"
        )


def _for_drawing(
    distribution: Distribution, parameters: Tensor, uniforms: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    check_temperature(temperature)
    _check(distribution, parameters, parameters[:, 0] if parameters.dim() == 3 else parameters)
    expected = (parameters.shape[0], 4, parameters.shape[2])
    if uniforms.shape != expected:
        raise ValueError(
            f"{type(distribution).__name__}: uniforms has shape {tuple(uniforms.shape)}; accepted "
            f"is {expected}"
        )
    parameters = _wide(parameters)
    return parameters, uniforms.to(parameters.dtype)
