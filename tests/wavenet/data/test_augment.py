from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from wavenet.audio import effects
from wavenet.classifier.data import AudioCache, Augmentation, Augmenter
from wavenet.errors import DataError

RATE = 8000
TIME = torch.arange(4000) / RATE
X = torch.sin(2 * math.pi * 255 * TIME)
EVERYTHING = {
    "crop": (0.5, 1),
    "speed": (0.8, 1.2),
    "shift_ms": 100,
    "polarity": True,
    "gain_db": 6,
    "low_cut_hz": (20, 300),
    "high_cut_hz": (1000, 4000),
    "tilt_db": 4,
    "noise_snr_db": (0, 20),
    "noise_kinds": ("white", "pink"),
    "mask_ms": 50,
    "mask_count": 2,
}


def augmenter(folder: str = "", **settings: object) -> Augmenter:
    cache = AudioCache(None, RATE)
    return Augmenter(Augmentation(noise_folder=folder, **settings), cache)  # type: ignore[arg-type]


def apply(x: Tensor, seed: int = 0, **settings: object) -> Tensor:
    return augmenter(**settings)(x, seed)


def level(x: Tensor) -> float:
    return float(10 * torch.log10(x.square().mean()))


def pitch(x: Tensor) -> float:
    """The frequency of the largest line, in Hz."""
    return float(torch.fft.rfft(x, 1 << 16).abs().argmax()) * RATE / (1 << 16)


def test_nothing_by_default() -> None:
    assert torch.equal(apply(X), X)


def test_all_together_depends_on_the_seed_and_keeps_the_input() -> None:
    before = X.clone()
    everything = augmenter(**EVERYTHING)
    first, again, other = (everything(X, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)
    assert torch.equal(X, before)
    assert everything(X.double(), 1).dtype == torch.float64


@pytest.mark.parametrize("samples", [1, 2, 3, 17])
def test_shortest_clips(samples: int) -> None:
    everything = augmenter(**EVERYTHING)
    for seed in range(30):
        y = everything(torch.ones(samples), seed)
        assert len(y) >= 1 and y.isfinite().all()


@pytest.mark.parametrize(
    "name", ["crop", "speed", "shift", "polarity", "gain", "band", "tilt", "noise", "mask"]
)
def test_each_has_a_probability(name: str) -> None:
    strengths = {"band": ["high_cut_hz"], "noise": ["noise_snr_db"]}
    wanted = strengths.get(name, [key for key in EVERYTHING if key.startswith(name)])
    settings = {key: EVERYTHING[key] for key in wanted}
    often = augmenter(**settings, **{f"{name}_probability": 0.3})
    changed = sum(not torch.equal(often(X, seed), X) for seed in range(200))
    assert 35 < changed < 85
    never = augmenter(**settings, **{f"{name}_probability": 0.0})
    assert all(torch.equal(never(X, seed), X) for seed in range(20))


def test_crop() -> None:
    x = torch.arange(1000).float()
    lengths, starts = set(), set()
    for seed in range(200):
        y = apply(x, seed, crop=(0.5, 0.75))
        assert torch.equal(y, x[int(y[0]) : int(y[0]) + len(y)])
        lengths.add(len(y))
        starts.add(int(y[0]))
    assert 500 <= min(lengths) < 520 and 730 < max(lengths) <= 750
    assert min(starts) < 20 and max(starts) > 400


@pytest.mark.parametrize("speed", [0.8, 0.97, 1.0, 1.25])
def test_speed_changes_length_and_pitch_and_nothing_else(speed: float) -> None:
    y = effects.change_speed(X, speed)
    before, after = effects.speed_sizes(len(X), speed)
    exact = before / after
    assert exact == pytest.approx(speed, rel=5e-3) and before >= len(X) + 512
    assert len(y) == pytest.approx(len(X) / exact, abs=1)
    expected = torch.sin(2 * math.pi * 255 * exact * torch.arange(len(y)) / RATE)
    inside = slice(200, -200)  # the ends ring, as those of any band-limited interpolation
    assert torch.allclose(y[inside], expected[inside], atol=0.02)


def test_speed_does_not_alias() -> None:
    high = torch.sin(2 * math.pi * 3500 * TIME)
    assert level(effects.change_speed(high, 1.3)[200:-200]) < -40


def test_shift() -> None:
    x = torch.arange(1, 4001).float()
    shifts = set()
    for seed in range(99):
        y = apply(x, seed, shift_ms=10)
        at = int(y.argmax())  # the last sample that is still there
        moved = int(at + 1 - y[at])
        shifts.add(moved)
        padded = torch.nn.functional.pad(x, (80, 80))
        assert torch.equal(y, padded[80 - moved : 4080 - moved])
    assert -80 <= min(shifts) < -70 and 70 < max(shifts) <= 80


def test_shift_leaves_something_of_a_short_clip() -> None:
    assert all(apply(torch.ones(5), seed, shift_ms=1000).any() for seed in range(99))
    assert torch.equal(apply(torch.ones(1), shift_ms=1000), torch.ones(1))


def test_polarity_and_gain() -> None:
    signs = [float(apply(X, seed, polarity=True)[9] / X[9]) for seed in range(99)]
    assert set(signs) == {1.0, -1.0} and abs(sum(signs)) < 40
    gains = [20 * math.log10(float(apply(X, s, gain_db=6)[9] / X[9])) for s in range(99)]
    assert -6 <= min(gains) < -5 and 5 < max(gains) <= 6


@pytest.mark.parametrize(
    ("low", "high", "kept", "lost"),
    [(500, None, 1500, 100), (None, 1000, 300, 3500), (300, 3000, 1000, 60)],
)
def test_band_limit(low: float | None, high: float | None, kept: float, lost: float) -> None:
    def through(hertz: float) -> float:
        x = torch.sin(2 * math.pi * hertz * TIME)
        return level(effects.band_limit(x, RATE, low, high)[500:-500]) - level(x)

    assert abs(through(kept)) < 0.5
    assert through(lost) < -30
    for corner in filter(None, (low, high)):
        assert through(corner) == pytest.approx(-3, abs=0.3)


def test_tilt_is_so_many_decibels_an_octave_and_no_louder() -> None:
    tones = [torch.sin(2 * math.pi * hertz * TIME) for hertz in (500, 1000, 2000)]
    x = sum(tones) / 8
    tilted = effects.tilt(x, RATE, 3.0)
    heights = [20 * math.log10(float((tilted * tone).sum().abs())) for tone in tones]
    assert np.diff(heights) == pytest.approx([3, 3], abs=0.3)
    assert level(tilted) == pytest.approx(level(x), abs=0.01)
    drawn = augmenter(tilt_db=6)
    assert drawn(X, 1).shape == X.shape and not drawn(torch.zeros(9), 1).any()


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_noise_is_at_the_ratio_that_is_drawn(kind: str, scale: float) -> None:
    x = scale * X
    make = augmenter(noise_snr_db=(5, 15), noise_kinds=(kind,))
    ratios = [level(x) - level(make(x, seed) - x) for seed in range(60)]
    assert 4.9 < min(ratios) < 7 and 13 < max(ratios) < 15.1
    assert not make(torch.zeros(10), 0).any()


def test_pink_noise_falls_three_decibels_an_octave() -> None:
    power = torch.zeros(8193)
    for seed in range(20):
        white = torch.randn(16384, generator=torch.Generator().manual_seed(seed))
        power += torch.fft.rfft(effects.pink(white)).abs().square()
    octaves = [level(power[2**i : 2 ** (i + 1)].sqrt()) for i in range(6, 13)]
    assert np.diff(octaves) == pytest.approx([-3.01] * 6, abs=0.6)


def test_noise_from_a_folder(tmp_path: Path) -> None:
    long = np.sin(np.arange(20000) / 3).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", 0.5 * long, RATE)
    make = augmenter(str(tmp_path), noise_snr_db=(0, 0), noise_kinds=())
    noise = make(X, 0) - X
    assert level(noise) == pytest.approx(level(X), abs=0.01)
    assert pitch(noise) == pytest.approx(RATE / 3 / (2 * math.pi), rel=0.01)
    assert not torch.allclose(noise, make(X, 1) - X)  # another excerpt
    long_clip = torch.ones(50000)  # goes round the recording
    assert make(long_clip, 0).shape == long_clip.shape


def test_noise_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: is no folder that holds recordings"):
        augmenter(str(tmp_path / "nowhere"), noise_snr_db=(0, 10))
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"broken\.wav: can't be decoded"):
        augmenter(str(tmp_path), noise_snr_db=(0, 10))


def test_masks() -> None:
    lengths = set()
    for seed in range(99):
        silent = apply(torch.ones(4000), seed, mask_ms=50) == 0
        length = int(silent.sum())
        lengths.add(length)
        assert int(silent.float().diff().abs().sum()) <= 2  # one stretch
    assert min(lengths) < 20 and 380 < max(lengths) <= 400
    assert apply(torch.ones(10), mask_ms=1000, mask_count=1).any()


@pytest.mark.parametrize("louder", [1.0, 10.0])
def test_mixtures(louder: float) -> None:
    other = louder * torch.cos(2 * math.pi * 900 * TIME[:3000])
    half = effects.mix_between_classes(X, other, 0.5)
    assert len(half) == 4000

    def line(x: Tensor, hertz: float) -> float:
        carrier = torch.exp(2j * math.pi * hertz * TIME[:3000])
        return float((x[:3000] * carrier).mean().abs())

    assert line(half, 255) == pytest.approx(line(half, 900), rel=0.05)  # equally loud
    most = effects.mix_between_classes(X, other, 0.9)
    assert line(most, 255) > 5 * line(most, 900)
    assert torch.allclose(effects.mix_between_classes(X, other, 1.0), X)
    mixed = effects.mixup(X, other, 0.25)
    assert torch.allclose(mixed[:3000], 0.25 * X[:3000] + 0.75 * other)
    assert effects.mix_between_classes(torch.zeros(3), torch.zeros(2), 0.5).isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gain_db": -1}, "gain_db is -1"),
        ({"gain_db": 1e4}, "gain_db is 10000.0; a number from 0 to 200"),
        ({"noise_snr_db": (-1e5, 0)}, "noise_snr_db is .* in dB from -200 to 200"),
        ({"shift_ms": math.inf}, "shift_ms is inf"),
        ({"noise_snr_db": (20, 10)}, "noise_snr_db is"),
        ({"noise_snr_db": (10,)}, "noise_snr_db is"),
        ({"noise_snr_db": (math.nan, 10)}, "noise_snr_db is"),
        ({"noise_snr_db": "loud"}, "noise_snr_db is loud"),
        ({"crop": (0, 1)}, r"crop is \(0, 1\); \(least, most\) above 0, up to 1"),
        ({"speed": (0.1, 1)}, "speed is"),
        ({"high_cut_hz": (0, 10)}, "high_cut_hz is"),
        ({"gain_probability": 1.5}, "gain_probability is 1.5; a number from 0 to 1"),
        ({"mask_count": 0}, "mask_count is 0"),
        ({"noise_kinds": ["brown"]}, "noise_kinds is"),
        ({"noise_kinds": [["white"]]}, "noise_kinds is"),
        ({"noise_kinds": [], "noise_snr_db": (1, 2)}, "noise_kinds is empty"),
        ({"noise_folder": "x"}, "noise_folder needs noise_snr_db"),
    ],
)
def test_wrong(wrong: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Augmentation(**wrong)


def test_a_list_as_yaml_gives_it() -> None:
    assert Augmentation(noise_snr_db=[10, 20]) == Augmentation(noise_snr_db=(10, 20))  # type: ignore
