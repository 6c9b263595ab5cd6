"""One optimizer step: parts, precision, compilation, averages, stopping early."""

from __future__ import annotations

import csv
import itertools

import pytest
import torch
from small_runs import quiet, small_config, weights

from wavenet import WaveNetClassifier, load_model
from wavenet.classifier.data import Batch
from wavenet.classifier.run_config import TrainingConfig
from wavenet.classifier.training import train
from wavenet.classifier.training.learner import ClassificationLoss, Learner, average_weights
from wavenet.classifier.training.processes import processes

CLIPS = Batch(
    0.3 * torch.randn(6, 300, generator=torch.Generator().manual_seed(0)),
    torch.tensor([300, 200, 17, 300, 4, 1]),
    torch.tensor([0, 1, 2, 0, 1, 2]),
)


def _rows(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.waveform[rows], batch.lengths[rows], batch.labels[rows])


def _learner(accelerator, config, **settings) -> Learner:
    torch.manual_seed(0)
    model = WaveNetClassifier(config.model_config(("a", "b", "c")))
    return Learner(model, TrainingConfig(device="cpu", **settings), accelerator, steps=10)


def _gradients(learner: Learner, parts: list[Batch]) -> dict[str, torch.Tensor]:
    """Of one step, whose optimizer is kept from using and dropping them."""
    learner.scaler.step = lambda optimizer: None
    learner.optimizer.zero_grad = lambda: None
    learner.settings = TrainingConfig(accumulation=len(parts), max_grad_norm=0)
    learner.step(parts, 6, 0)
    return {n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None}


def _stepped(recordings, tmp_path, **settings) -> tuple[WaveNetClassifier, WaveNetClassifier]:
    """The model before and after a step."""
    config = small_config(recordings, tmp_path, "model.dropout=0")
    with processes("cpu") as accelerator:
        before, learner = (_learner(accelerator, config, **settings) for _ in range(2))
        learner.step([CLIPS], 6, 1)
    return before.model, learner.model


def test_weight_decay_is_of_weights_not_of_biases(recordings, tmp_path):
    _, plain = _stepped(recordings, tmp_path, weight_decay=0.0)
    start, decayed = _stepped(recordings, tmp_path, weight_decay=0.5)
    rate = 2e-3  # the peak, reached in the second step of ten
    first, names = dict(start.named_parameters()), dict(plain.named_parameters())
    for name, value in decayed.named_parameters():
        lost = 0.0 if name.endswith("bias") else 0.5 * rate * first[name]
        assert torch.allclose(names[name] - value, torch.as_tensor(lost), atol=1e-7), name
        assert name.endswith("bias") or (names[name] - value).abs().max() > 1e-5, name


def test_label_smoothing_is_of_the_training_loss(recordings, tmp_path):
    torch.manual_seed(0)
    config = small_config(recordings, tmp_path, "model.dropout=0")
    loss_of = ClassificationLoss(WaveNetClassifier(config.model_config(("a", "b", "c"))), 0.3)
    losses, logits = loss_of(CLIPS)
    shares = 0.7 * torch.nn.functional.one_hot(CLIPS.labels, 3) + 0.1
    assert torch.allclose(losses, -(shares * logits.log_softmax(1)).sum(1))
    losses, logits = loss_of.eval()(CLIPS)
    assert torch.allclose(
        losses, torch.nn.functional.cross_entropy(logits, CLIPS.labels, reduction="none")
    )


def test_the_second_loss_is_added_with_its_weight(recordings, tmp_path):
    torch.manual_seed(0)
    config = small_config(recordings, tmp_path, "model.dropout=0", "model.next_sample_weight=0.3")
    model = WaveNetClassifier(config.model_config(("a", "b", "c")))
    losses, logits = ClassificationLoss(model)(CLIPS)
    first = torch.nn.functional.cross_entropy(logits, CLIPS.labels, reduction="none")
    _, following = model.forward_with_next_sample(CLIPS.waveform, CLIPS.lengths)
    for row in range(6):
        known = following.targets[row] >= 0
        second = 0.0
        if known.any():  # a clip of one sample has no next one
            predicted = following.logits[row, :, known].T
            second = torch.nn.functional.cross_entropy(predicted, following.targets[row, known])
        assert torch.allclose(losses[row], first[row] + 0.3 * second), row


@pytest.mark.parametrize("cuts", [(0, 3, 6), (0, 1, 2, 6), (0, 6, 6)], ids=str)
def test_parts_of_a_batch_give_the_gradient_of_the_whole(recordings, tmp_path, cuts):
    """Also parts of unequal sizes, and one that has no clip."""
    more = ("model.next_sample_weight=0.3", "model.dropout=0", "model.pooling=attention")
    config = small_config(recordings, tmp_path, *more)
    with processes("cpu") as accelerator:
        whole = _gradients(_learner(accelerator, config), [CLIPS])
        parts = [_rows(CLIPS, slice(a, b)) for a, b in itertools.pairwise(cuts)]
        summed = _gradients(_learner(accelerator, config), parts)
    assert whole.keys() == summed.keys() and len(whole) > 10
    scale = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        assert torch.allclose(gradient, summed[name], rtol=1e-5, atol=1e-6 * scale), name


def test_one_process_trains_in_one_precision_after_another(recordings, tmp_path):
    final = {}
    for precision in ("no", "bf16", "fp16"):
        settings = f"training.mixed_precision={precision}"
        config = small_config(recordings, tmp_path, settings, "training.epochs=1")
        train(config, tmp_path / precision, console=quiet())
        final[precision] = weights(tmp_path / precision)["best classifier.weight"]
    assert final["no"].dtype == final["fp16"].dtype == torch.float32
    assert not final["no"].equal(final["bf16"]) and not final["no"].equal(final["fp16"])


def test_loss_scaling_skips_a_step_that_overflows_and_goes_on(recordings, tmp_path):
    config = small_config(recordings, tmp_path)
    with processes("cpu") as accelerator:
        learner = _learner(accelerator, config, mixed_precision="fp16")
        before = {name: value.clone() for name, value in learner.model.state_dict().items()}
        learner.scaler._init_scale = 2.0**40  # beyond float16
        learner.step([CLIPS], 6, 0)
        assert learner.scaler.get_scale() == 2.0**39
        assert all(before[k].equal(v) for k, v in learner.model.state_dict().items())
        state, tensors = learner.scaler.state_dict(), learner.tensors()
        resumed = _learner(accelerator, config, mixed_precision="fp16")
        resumed.load(tensors, {}, state, 1)
        assert resumed.scaler.state_dict() == state
        for _ in range(40):
            resumed.step([CLIPS], 6, 1)
        assert not before["classifier.weight"].equal(resumed.model.classifier.weight)


def test_what_is_not_of_this_model_is_not_loaded(recordings, tmp_path):
    with processes("cpu") as accelerator:
        learner = _learner(accelerator, small_config(recordings, tmp_path))
        learner.step([CLIPS], 6, 0)
        saved = learner.tensors()
        name = "optimizer.exp_avg.classifier.bias"
        with pytest.raises(ValueError, match=r"exp_avg of classifier.bias has shape \(5,\)"):
            learner.load(saved | {name: torch.zeros(5)}, {}, {}, 1)
        with pytest.raises(ValueError, match="moments of unknown weights: exp_avg.wings"):
            learner.load(saved | {"optimizer.exp_avg.wings": torch.zeros(5)}, {}, {}, 1)
        with pytest.raises(KeyError, match="exp_avg.classifier.bias"):
            learner.load({k: v for k, v in saved.items() if k != name}, {}, {}, 1)


def test_the_average_is_what_is_evaluated_and_saved(recordings, tmp_path):
    config = small_config(recordings, tmp_path, "training.ema_decay=0.95", "training.epochs=1")
    train(config, tmp_path / "run", console=quiet())
    left = weights(tmp_path / "run")
    for name in load_model(tmp_path / "run").state_dict():
        assert left[f"best {name}"].equal(left[f"evaluated {name}"])
        assert not left[f"best {name}"].equal(left[f"state model.{name}"]), name


def test_average_by_hand():
    layer = torch.nn.Linear(1, 1, bias=False)
    average = average_weights(layer, 0.25)
    expected = 0.0
    for n in range(6):
        torch.nn.init.constant_(layer.weight, n * n)
        average.update_parameters(layer)
        decay = min(0.25, (1 + n) / (10 + n))
        expected = n * n if n == 0 else decay * expected + (1 - decay) * n * n
        assert float(average.module.weight) == pytest.approx(expected)


def test_training_stops_early_and_stays_stopped(recordings, tmp_path):
    """With a rate so low that nothing changes, only the first epoch is the best."""
    more = ("training.learning_rate=1e-30", "training.patience=2", "training.epochs=9")
    config = small_config(recordings, tmp_path, *more)
    for resume in (False, True):
        result = train(config, tmp_path / "run", resume=resume, console=quiet())
        assert result.epochs == 3
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.slow
def test_a_compiled_model_has_the_same_gradient(recordings, tmp_path, monkeypatch):
    """As one graph, run as it is: Inductor would take minutes. What is saved has no trace of it."""
    compile_ = ClassificationLoss.compile
    monkeypatch.setattr(
        ClassificationLoss,
        "compile",
        lambda self, **options: compile_(self, backend="aot_eager", fullgraph=True, **options),
    )
    more = ("model.layers_per_stack=1", "model.next_sample_weight=0.1", "model.dropout=0")
    config = small_config(recordings, tmp_path, *more)
    with processes("cpu") as accelerator:
        eager = _learner(accelerator, config)
        compiled = _learner(accelerator, config, compile=True)
        expected, found = _gradients(eager, [CLIPS]), _gradients(compiled, [CLIPS])
        assert compiled.tensors().keys() == eager.tensors().keys()
    for name, gradient in expected.items():
        assert torch.allclose(gradient, found[name], rtol=1e-4, atol=1e-6), name
