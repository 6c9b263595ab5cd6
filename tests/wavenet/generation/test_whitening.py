"""Sound without the spectrum that its mel tells: what is left is white, and nothing is lost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from wavenet import WaveGlow, WaveGlowConfig
from wavenet.data.mel import MelConfig, mel_magnitudes, mel_spectrogram
from wavenet.errors import DataError
from wavenet.generation import whitening
from wavenet.generation.whitening import Whitening, colour, cosines, whiten

MEL = MelConfig(8000, n_fft=256, hop=64, window=256, mels=32, low_hz=50, high_hz=3900, floor=1e-5)


def words(frames: int = 60) -> torch.Tensor:
    """(1, T) noise, low then high, with a pause 60 dB below between, in float64."""
    random = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 64 * frames, generator=random, dtype=torch.float64)
    low = noise.cumsum(1) - noise.cumsum(1).roll(20, 1)
    high = noise - noise.roll(1, 1)
    third = 64 * (frames // 3)
    sound = torch.cat((0.02 * low[:, :third], 1e-4 * low[:, :third], 0.1 * high[:, :third]), dim=1)
    return sound.clamp(-1, 1)


def mel_of(sound: torch.Tensor, config: MelConfig = MEL) -> torch.Tensor:
    return mel_spectrogram(sound, config)[:, :, : sound.shape[1] // config.hop]


@pytest.mark.parametrize("compression", ["ln", "log10", "db"])
def test_magnitudes_are_those_before_the_logarithm(compression):
    config = replace(MEL, compression=compression, mean=(-1.0,) * 32, std=(2.0,) * 32)
    plain = mel_magnitudes(mel_spectrogram(words(), MEL), MEL)
    found = mel_magnitudes(mel_spectrogram(words(), config), config)
    floor = 1e-4 if compression == "db" else MEL.floor
    assert torch.allclose(found, plain.clamp_min(floor), rtol=1e-9, atol=0)


def test_roots_are_the_covariances():
    mel = mel_of(words())
    roots = Whitening(MEL, 64).roots(mel)  # halfway between frames, but the last
    power = mel_magnitudes(mel[:, :, -1:], MEL).square().transpose(1, 2)
    told = (power.unsqueeze(2) * cosines(MEL, 64)).sum(3)[0, 0]
    noise = whitening.FLOOR * told[0] + whitening.ROUNDING
    at = torch.arange(64)
    expected = told[(at[:, None] - at).abs()] + noise * torch.eye(64)
    assert torch.allclose(roots[0, -1] @ roots[0, -1].T, expected, rtol=1e-9, atol=0)


def test_white_noise_of_some_variance_is_told():
    """Band by band the mel of noise tells its variance, but for its own roughness."""
    random = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(1, 64 * 400, generator=random, dtype=torch.float64)
    variance = Whitening(MEL, 1).roots(mel_of(noise)).square().mean()
    # A mean magnitude's square is pi / 4 of the mean square, where a band is one bin wide.
    assert 0.7 * 0.01 < variance < 1.05 * 0.01


@pytest.mark.parametrize("block", [1, 8, 64])
def test_words_and_pauses_come_out_alike_and_back(block):
    sound = words()
    roots = Whitening(MEL, block).roots(mel_of(sound))
    white, log_determinant = whiten(sound, roots)
    assert torch.allclose(colour(white, roots), sound, rtol=0, atol=1e-12)
    parts = white[0].view(3, -1)[:, 256:-256].square().mean(1)
    assert 0.5 < parts.min() and parts.max() < 2.0
    jacobian = torch.autograd.functional.jacobian(
        lambda x: whiten(x, roots[:, : 64 // block])[0].flatten(), sound[:, :64]
    )
    whole = torch.linalg.slogdet(jacobian.view(64, 64)).logabsdet
    first = whiten(sound[:, :64], roots[:, : 64 // block])[1]
    assert torch.allclose(first, whole[None])
    assert log_determinant.shape == (1,)


def test_long_blocks_leave_less_of_the_spectrum():
    sound = words()
    mel = mel_of(sound)
    bits = []
    for block in (1, 8, 64):
        white, log_determinant = whiten(sound, Whitening(MEL, block).roots(mel))
        nats = white.square().sum() / 2 - log_determinant + math.log(2 * math.pi) / 2
        bits.append(float(nats / sound.numel() / math.log(2)))
    assert bits[0] > bits[1] + 0.5 > bits[2] + 0.5


def test_silence_and_half_precision():
    silence = torch.zeros(1, 640)
    roots = Whitening(MEL, 64).roots(mel_of(silence))
    assert roots.isfinite().all() and (roots.diagonal(dim1=2, dim2=3) > 0).all()
    loud = mel_of(words().float())
    halved = Whitening(MEL, 64).roots(loud.bfloat16())
    assert halved.dtype == torch.float32
    assert torch.equal(halved, Whitening(MEL, 64).roots(loud.bfloat16().float()))


def test_a_frame_is_the_same_whatever_is_beside_it():
    mel = mel_of(words().float())
    whole = Whitening(MEL, 16).roots(mel)
    for first, last in ((0, 3), (7, 30), (59, 60)):
        part = Whitening(MEL, 16).roots(mel[:, :, first : last + 1])[:, : 4 * (last - first)]
        assert torch.equal(part, whole[:, 4 * first : 4 * last])


def test_beyond_the_last_frame_its_matrix_goes_on():
    mel = mel_of(words())
    roots = Whitening(MEL, 32).roots(mel, 125)
    assert roots.shape == (1, 125, 32, 32)
    assert torch.equal(roots[:, :120], Whitening(MEL, 32).roots(mel))
    assert torch.equal(roots[:, 124], roots[:, 119])


def test_a_new_model_is_as_loud_as_its_mel():
    """Without any training: the levels of thirds that are 60 dB apart."""
    torch.manual_seed(0)
    sound = words().float()
    model = WaveGlow(WaveGlowConfig(8000, MEL, flows=3, layers=2, channels=8, whiten=64))
    made = model.infer(mel_of(sound), sigma=1.0)
    levels = [
        20 * wave[0].view(3, -1)[:, 256:-256].square().mean(1).sqrt().log10()
        for wave in (sound, made)
    ]
    assert (levels[0] - levels[1]).abs().max() < 2.0


def test_waveforms_are_whole_blocks():
    model = WaveGlow(WaveGlowConfig(8000, MEL, flows=2, layers=1, channels=8, whiten=64))
    mel = mel_of(words().float())
    with pytest.raises(DataError, match="waveform has 72 samples; accepted is a multiple of the 6"):
        model(torch.zeros(1, 72), mel)
