from __future__ import annotations

import math

import pytest
import torch

from wavenet.data import Augmentation, DataError


def apply(augmentation: Augmentation, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmentation(x, 8000, torch.Generator().manual_seed(seed))


X = torch.sin(torch.arange(4000) / 5)


def test_nothing_by_default() -> None:
    assert torch.equal(apply(Augmentation(), X), X)


def test_all_together_depends_on_the_generator_and_keeps_the_input() -> None:
    everything = Augmentation(gain_db=6, shift_ms=100, noise_snr_db=(0, 20), polarity=True)
    before = X.clone()
    first, again, other = (apply(everything, X, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(X, before)
    assert first.shape == X.shape and first.dtype == X.dtype


def test_gain() -> None:
    gains = [
        20 * math.log10(float(apply(Augmentation(gain_db=6), X, s)[9] / X[9])) for s in range(99)
    ]
    assert -6 <= min(gains) < -5 and 5 < max(gains) <= 6


def test_polarity() -> None:
    signs = [float(apply(Augmentation(polarity=True), X, s)[9] / X[9]) for s in range(99)]
    assert set(signs) == {1.0, -1.0} and abs(sum(signs)) < 40


def test_shift() -> None:
    x = torch.arange(1, 4001).float()
    shifts = set()
    for seed in range(99):
        y = apply(Augmentation(shift_ms=10), x, seed)
        at = int(y.argmax())  # the last sample that is still there
        shift = int(at + 1 - y[at])
        shifts.add(shift)
        padded = torch.nn.functional.pad(x, (80, 80))
        assert torch.equal(y, padded[80 - shift : 4080 - shift])
    assert -80 <= min(shifts) < -70 and 70 < max(shifts) <= 80


def test_shift_leaves_something_of_a_short_clip() -> None:
    for seed in range(99):
        assert apply(Augmentation(shift_ms=1000), torch.ones(5), seed).any()
    assert torch.equal(apply(Augmentation(shift_ms=1000), torch.ones(1)), torch.ones(1))


@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_noise(level: float) -> None:
    ratios = []
    for seed in range(50):
        x = level * X
        noise = apply(Augmentation(noise_snr_db=(5, 15)), x, seed) - x
        ratios.append(float(10 * torch.log10(x.square().mean() / noise.square().mean())))
    assert 4.5 < min(ratios) < 7 and 13 < max(ratios) < 15.5
    assert not apply(Augmentation(noise_snr_db=(5, 15)), torch.zeros(10)).any()


def test_dtype_is_kept() -> None:
    everything = Augmentation(gain_db=6, shift_ms=100, noise_snr_db=(0, 20), polarity=True)
    assert apply(everything, X.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gain_db": -1}, "gain_db is -1"),
        ({"shift_ms": math.inf}, "shift_ms is inf"),
        ({"noise_snr_db": (20, 10)}, "noise_snr_db is"),
        ({"noise_snr_db": (10,)}, "noise_snr_db is"),
        ({"noise_snr_db": (math.nan, 10)}, "noise_snr_db is"),
    ],
)
def test_wrong(wrong: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Augmentation(**wrong)


def test_a_list_as_yaml_gives_it() -> None:
    assert Augmentation(noise_snr_db=[10, 20]) == Augmentation(noise_snr_db=(10, 20))  # type: ignore
