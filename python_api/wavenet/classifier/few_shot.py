"""New classes from few clips: a linear layer on what a trained network makes of them.

The network stays as it is; only its last layer is another one. How good that is, and how good the
nearest neighbours alone are, is found by cross-validation over the same clips.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet.classifier.data import AudioCache, Clip, fold_groups
from wavenet.classifier.inference.evaluate import classify_clips
from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.errors import DataError

FOLDS = 5
# Of the squared weights in the loss; the best of them is chosen by cross-validation.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
FLAT = 1e-6


@dataclass(frozen=True)
class FittedHead:
    """A model with new classes, and the share of clips that were right when they were left out.

    `linear` and `nearest` are None where a class has one clip only.
    """

    model: WaveNetClassifier
    clips: int
    folds: int
    strength: float
    linear: float | None
    nearest: float | None
    neighbours: int


def embed_clips(
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    labels: Sequence[str],
    cache: AudioCache,
    max_samples: int | None = None,
) -> tuple[Tensor, Tensor]:
    """`model.embed` of labelled clips: float32 (clips, C), and class indices (clips,)."""
    device = next(model.parameters()).device
    config = _with_classes(model.config, labels)
    return classify_clips(
        lambda waveform, lengths: model.embed(waveform.to(device), lengths.to(device)),
        config,
        clips,
        cache,
        max_samples=max_samples,
    )


def fit_head(
    model: WaveNetClassifier,
    clips: Sequence[Clip],
    labels: Sequence[str],
    cache: AudioCache,
    *,
    neighbours: int = 5,
    max_samples: int | None = None,
) -> FittedHead:
    """A model that tells other classes apart, fitted in seconds.

    Args:
        model: in eval mode; it is left as it is.
        clips: what the new classes sound like; ten of each are enough to try. Where all have a
            group, cross-validation leaves out whole groups.
        labels: of the new classes, two or more.
        cache: reads the clips, at the model's sample rate.
        neighbours: how many of the nearest clips vote on one.
        max_samples: clips longer than this are cropped at their centre.

    Raises:
        DataError: fewer than two labels, or no neighbours.
    """
    if len(labels) < 2:
        raise DataError(f"labels is {tuple(labels)}; accepted are two or more")
    if neighbours < 1:
        raise DataError(f"neighbours is {neighbours}; accepted is 1 or more")
    embedded, truth = embed_clips(model, clips, labels, cache, max_samples)
    x, classes = embedded.double(), len(labels)
    truth = truth.clone()  # what was computed in inference mode takes no part in gradients
    folds = _folds(clips)
    strength, linear, nearest = STRENGTHS[-1], None, None
    if folds is not None:
        crossed = functools.partial(_crossed, x=x, truth=truth, folds=folds)
        shares = {
            value: crossed(functools.partial(_linear_classes, classes=classes, strength=value))
            for value in STRENGTHS
        }
        strength = max(shares, key=lambda value: (shares[value], value))
        linear = shares[strength]
        nearest = crossed(
            functools.partial(nearest_classes, classes=classes, neighbours=neighbours)
        )
    weight, bias = fit_linear(x, truth, classes, strength)
    config = dataclasses.replace(_with_classes(model.config, labels), next_sample_weight=0.0)
    fitted = WaveNetClassifier(config)
    known = {**model.state_dict(), "classifier.weight": weight, "classifier.bias": bias}
    fitted.load_state_dict({name: known[name] for name in fitted.state_dict()})
    count = 0 if folds is None else int(folds.max()) + 1
    return FittedHead(fitted.eval(), len(clips), count, strength, linear, nearest, neighbours)


def _with_classes(config: WaveNetConfig, labels: Sequence[str]) -> WaveNetConfig:
    """The same network for other classes, of which nothing is known yet."""
    return dataclasses.replace(
        config, labels=tuple(labels), tags=False, thresholds=(), background="", events=False
    )


def fit_linear(x: Tensor, truth: Tensor, classes: int, strength: float) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression on standardised rows: weight (classes, C), bias (classes,).

    The loss is the mean cross-entropy and half of `strength` times the squared weights, those of
    standardised rows; what comes back is for rows as they are.
    """
    mean, scale = _standard(x)
    rows = (x - mean) / scale
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(rows @ weight.T + bias, truth)
        value = value + strength / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    weight, bias = weight.detach() / scale, bias.detach()
    return weight, bias - weight @ mean


def nearest_classes(
    x: Tensor, truth: Tensor, asked: Tensor, classes: int, neighbours: int
) -> Tensor:
    """What the nearest rows of `x` vote for, the nearer the more, by the cosine of their angle."""
    mean, scale = _standard(x)
    rows = F.normalize((x - mean) / scale)
    similar = F.normalize((asked - mean) / scale) @ rows.T
    values, indices = similar.topk(min(neighbours, len(x)))
    votes = torch.zeros(len(asked), classes, dtype=x.dtype)
    return votes.scatter_add_(1, truth[indices], values + 1).argmax(1)


def _linear_classes(
    x: Tensor, truth: Tensor, asked: Tensor, classes: int, strength: float
) -> Tensor:
    weight, bias = fit_linear(x, truth, classes, strength)
    return (asked @ weight.T + bias).argmax(1)


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.std(0, correction=0).clamp(min=FLAT)


def _crossed(
    predict: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, truth: Tensor, folds: Tensor
) -> float:
    """The share of rows that are right when their fold is left out."""
    correct = 0
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        correct += int((predict(x[~out], truth[~out], x[out]) == truth[out]).sum())
    return correct / len(truth)


def _folds(clips: Sequence[Clip]) -> Tensor | None:
    """A fold for each clip: of whole groups, else the same share of every class in each."""
    groups = {clip.group for clip in clips}
    if None not in groups and len(groups) > 1:
        folded = fold_groups(clips, min(FOLDS, len(groups)))
        return torch.tensor([int(clip.fold or 1) - 1 for clip in folded])
    counts = Counter(clip.label for clip in clips)
    if min(counts.values()) < 2:
        return None
    folds = min(FOLDS, min(counts.values()))
    seen: dict[str, int] = defaultdict(int)
    chosen = []
    for clip in clips:
        chosen.append(seen[clip.label] % folds)
        seen[clip.label] += 1
    return torch.tensor(chosen)
