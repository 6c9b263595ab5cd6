"""The filterbank before the stack: mel bands at first, causal, learned."""

from __future__ import annotations

import math

import pytest
import torch

from wavenet.networks import Architecture
from wavenet.networks.filterbank import FLOOR, OFFSET, SCALE, BandEnergies, drop_bands
from wavenet.networks.stem import FilterbankStem

RATE = 8000


def _bands(filters: int = 20) -> BandEnergies:
    return BandEnergies(filters, taps=256, stride=80, sample_rate=RATE)


def test_bands_are_on_the_mel_scale_at_first():
    spectra = torch.fft.rfft(_bands().filters().detach(), 8192).abs()
    peaks = spectra[:20].argmax(1) * RATE / 8192
    mels = 2595 * torch.log10(1 + peaks / 700)
    spacings = mels.diff()
    assert peaks[0] > 40 and peaks[-1] < RATE / 2
    torch.testing.assert_close(spacings, spacings.mean().expand(19), rtol=0.1, atol=0)


@pytest.mark.parametrize("amplitude", [1.0, 0.1])
def test_a_tone_is_loudest_in_its_band_whatever_its_phase(amplitude):
    bands = _bands()
    hertz = float(700 * (10 ** (bands.mels[12, 0] / 2595) - 1))
    seconds = torch.arange(2000) / RATE
    phases = torch.tensor([[0.0], [1.0], [2.0]])
    tones = amplitude * torch.sin(2 * math.pi * hertz * seconds + phases)
    with torch.no_grad():
        energies = bands(tones)[:, :, 5:]
    assert (energies.argmax(1) == 12).all()
    steady = energies[:, 12]
    torch.testing.assert_close(steady, steady.mean().expand_as(steady), rtol=0, atol=0.01)
    with torch.no_grad():  # a factor of ten in amplitude is one of a hundred in energy
        louder = bands(10 * tones)[:, 12, 5:]
    torch.testing.assert_close(
        louder - steady, torch.full_like(steady, SCALE * math.log(100)), rtol=0, atol=0.01
    )


def test_silence_is_the_floor():
    energies = _bands()(torch.zeros(1, 1000))
    expected = SCALE * math.log(FLOOR) + OFFSET
    torch.testing.assert_close(energies, torch.full_like(energies, expected))


def test_outputs_are_a_stride_apart_and_causal():
    bands = _bands().double()
    waveform = torch.randn(1, 801, dtype=torch.float64, requires_grad=True)
    energies = bands(waveform)
    assert energies.shape == (1, 20, 11)
    (gradient,) = torch.autograd.grad(energies[0, :, 7].sum(), waveform)
    heard = gradient[0].nonzero().flatten()
    assert (int(heard[0]), int(heard[-1])) == (7 * 80 - 255, 7 * 80)


def test_all_of_a_band_is_learned():
    bands = _bands()
    bands(0.1 * torch.randn(2, 4000)).square().sum().backward()
    assert {name for name, value in bands.named_parameters() if value.grad.abs().min() > 0} == {
        "shift",
        "narrowing",
        "gain",
        "bias",
    }


def test_half_precision_keeps_quiet_sounds_apart():
    stem = FilterbankStem(
        Architecture(sample_rate=RATE, filters=20, stem_kernel_size=256, stem_stride=80)
    )
    quiet = 1e-2 * torch.randn(1, 4000)
    with torch.no_grad():
        exact = stem.bands(quiet)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(stem.bands(quiet), exact, rtol=0, atol=0.05)
            assert stem(quiet).isfinite().all()


def test_bands_are_dropped_in_two_stretches_of_a_clip_at_most():
    torch.manual_seed(0)
    kept = drop_bands(torch.ones(500, 40, 3), 0.25)
    assert torch.equal(kept[:, :, 0], kept[:, :, 2])
    dropped = kept[:, :, 0] == 0
    edges = torch.nn.functional.pad(dropped.int(), (1, 1)).diff().abs().sum(1)
    assert 0 < int(edges.max()) <= 4
    assert 10 < int(dropped.sum(1).max()) <= 20
    assert 8 < float(dropped.sum(1).float().mean()) < 10.5  # of 2 x 5, some of them twice
    assert dropped.any(0).all()


def test_bands_are_dropped_in_training_only():
    config = Architecture(
        sample_rate=RATE, filters=20, stem_kernel_size=256, stem_stride=80, filter_dropout=0.5
    )
    stem, waveform = FilterbankStem(config), torch.randn(4, 2000)
    trained = stem(waveform)
    assert not torch.equal(stem(waveform), trained)
    stem.eval()
    assert torch.equal(stem(waveform), stem(waveform))
