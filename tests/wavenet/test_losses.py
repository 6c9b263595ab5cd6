"""What training makes smaller: weights, smoothing, focus, shares of the learning rate."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from small_runs import MODEL

from wavenet import WaveNetClassifier, WaveNetConfig
from wavenet.classifier.data import Batch, Clip
from wavenet.classifier.run_config import TrainingConfig
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.losses import ClassificationLoss, class_weights, smoothing_of
from wavenet.errors import ConfigError

LABELS = MODEL["labels"]
CLIPS = [Clip("x", "cat")] * 6 + [Clip("x", "dog")] * 3 + [Clip("x", "rain")]


def _model(**more: object) -> WaveNetClassifier:
    torch.manual_seed(0)
    return WaveNetClassifier(WaveNetConfig(**MODEL, **more))


def _batch(targets: torch.Tensor | None = None) -> Batch:
    waveform = torch.rand(4, 800, generator=torch.Generator().manual_seed(1)) - 0.5
    return Batch(waveform, torch.full((4,), 800), torch.tensor([0, 1, 2, 1]), targets)


def test_weights_make_classes_count_the_same():
    weights = class_weights(CLIPS, LABELS, 1.0, False)
    assert weights is not None and (weights * torch.tensor([6, 3, 1])).tolist() == pytest.approx(
        [10 / 3] * 3
    )
    root = class_weights(CLIPS, LABELS, 0.5, False)
    assert root is not None and float(root[2] / root[0]) == pytest.approx(6**0.5)
    assert class_weights(CLIPS, LABELS, 0.0, False) is None
    tags = class_weights(CLIPS, LABELS, 1.0, True)
    assert tags is not None and tags.tolist() == pytest.approx([4 / 6, 7 / 3, 9])


@pytest.mark.parametrize("soft", [False, True])
def test_smoothing_of_all_classes_is_that_of_each(soft):
    targets = torch.tensor([[0.7, 0.3, 0], [0, 1, 0], [0, 0, 1.0], [0.5, 0, 0.5]]) if soft else None
    batch, model, weights = _batch(targets), _model(), torch.tensor([0.5, 1.0, 2.0])
    losses, logits = ClassificationLoss(model, torch.full((3,), 0.2), weights)(batch)
    truth = batch.labels if targets is None else targets
    expected = F.cross_entropy(logits, truth, weights, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(losses, expected)
    own = smoothing_of(LABELS, 0.1, {"dog": 0.5})
    assert isinstance(own, torch.Tensor) and own.tolist() == pytest.approx([0.1, 0.5, 0.1])
    with pytest.raises(ConfigError, match="label_smoothing_of has the label 'cow'; there are cat"):
        smoothing_of(LABELS, 0.1, {"cow": 0.5})


def test_focus_takes_from_what_is_known():
    batch, model = _batch(), _model()
    plain, logits = ClassificationLoss(model)(batch)
    focused, _ = ClassificationLoss(model, focal_gamma=2.0)(batch)
    known = logits.softmax(1)[torch.arange(4), batch.labels]
    torch.testing.assert_close(focused, plain * (1 - known) ** 2)


def test_tags_are_told_one_by_one():
    targets = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    batch, model, weights = _batch(targets), _model(tags=True), torch.tensor([1.0, 2.0, 3.0])
    losses, logits = ClassificationLoss(model, weights=weights)(batch)
    expected = F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=weights, reduction="none"
    )
    torch.testing.assert_close(losses, expected.mean(1))
    focused, _ = ClassificationLoss(model, 0.2, focal_gamma=1.0)(batch)
    p, smooth = logits.sigmoid(), targets * 0.8 + 0.1
    terms = smooth * (1 - p) * -p.log() + (1 - smooth) * p * -(1 - p).log()
    torch.testing.assert_close(focused, terms.mean(1))
    judged = ClassificationLoss(model, 0.2, weights, 1.0).eval()(batch)[0]
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(judged, plain.mean(1))


def test_parts_learn_at_rates_of_their_own_or_not_at_all():
    rates = {"stem": 0.0, "stack": 0.1}
    settings = TrainingConfig(device="cpu", rates=rates, weight_decay=0.0, warmup_fraction=0.0)
    model = _model()
    learner = Learner(model, settings, Accelerator(cpu=True), steps=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learner.step([_batch()], 4, 0)
    moved = {
        part: max(
            float((value - before[name]).abs().max())
            for name, value in model.state_dict().items()
            if name.startswith(part)
        )
        for part in ("stem", "stack", "head", "classifier")
    }
    # Adam's first step is as long as the rate.
    assert moved["stem"] == 0.0
    assert moved["stack"] == pytest.approx(0.1 * moved["head"], rel=0.01)
    assert moved["head"] == pytest.approx(learner.learning_rate, rel=0.01)
    again = Learner(_model(), settings, Accelerator(cpu=True), steps=10)
    again.load({name: value.clone() for name, value in learner.tensors().items()}, {}, {}, 1)
    for one in (learner, again):
        one.step([_batch()], 4, 1)
    pairs = zip(model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        ({"body": 0.1}, "has the part 'body'; the model has stem, stack, head, classifier"),
        ({"stem": 0, "stack": 0, "head": 0, "classifier": 0}, "is 0 for every part"),
    ],
)
def test_rates_of_parts_that_there_are_not(rates, sentence):
    settings = TrainingConfig(device="cpu", rates=rates)
    with pytest.raises(ConfigError, match=sentence):
        Learner(_model(), settings, Accelerator(cpu=True), steps=10)
