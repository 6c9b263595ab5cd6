"""A part of a recording is heard as what it is in the whole."""

from __future__ import annotations

import pytest
import torch
from small_generators import MEL, SIZES

from wavenet import GeneratorConfig, WaveGlowConfig
from wavenet.data.mel import mel_spectrogram
from wavenet.generation.recordings import hear

PROCESSED = {"high_pass_hz": 70.0, "gain": 0.55, "pre_emphasis": 0.85}
CONFIGS = {
    "codes": GeneratorConfig(**SIZES),
    "processed": GeneratorConfig(**SIZES, **PROCESSED),
    "mel": GeneratorConfig(**SIZES, mel=MEL, upsample="repeat"),
    "all": GeneratorConfig(**SIZES, **PROCESSED, mel=MEL, context_frames=2),
    "waveglow": WaveGlowConfig(sample_rate=8000, mel=MEL, flows=2, layers=2, channels=4),
}


def recording(samples: int) -> torch.Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("samples", [1, 15, 16, 700, 2000])
def test_parts_are_those_of_the_whole(name, samples):
    config, waveform = CONFIGS[name], recording(samples)
    whole = hear(waveform, config)
    total, hop = len(whole.waveform), config.hop
    assert total == -(-samples // hop) * hop
    context = getattr(config, "context_frames", 0)
    for first, length in ((0, total), (0, hop), (total - hop, hop), (total // 2 // hop * hop, hop)):
        part = hear(waveform, config, first, length)
        assert part.waveform.shape == (length,)
        assert torch.allclose(part.waveform, whole.waveform[first : first + length], atol=1e-7)
        if config.mel is not None:
            frames = whole.mel[:, first // hop : (first + length) // hop + 2 * context]
            assert part.mel.shape == frames.shape
            assert torch.allclose(part.mel, frames, atol=1e-4)


def test_the_mel_is_that_of_what_the_high_pass_leaves():
    waveform = recording(700)
    frames = hear(waveform, CONFIGS["mel"]).mel
    assert frames.shape == (5, 44)
    assert torch.equal(frames, mel_spectrogram(waveform[None], MEL)[0])
    heard = hear(waveform, CONFIGS["all"])
    copies = heard.mel[:, [0, 1, -2, -1]]
    assert torch.equal(copies, heard.mel[:, [2, 2, -3, -3]])
    assert not torch.allclose(heard.mel[:, 2:-2], frames)


def test_beyond_its_end_a_recording_is_silent():
    heard = hear(recording(20), CONFIGS["waveglow"], 0, 160)
    assert heard.waveform[20:].eq(0).all() and heard.mel.shape == (5, 10)
    assert heard.mel[:, -1].eq(-10.0).all()  # log10 of the floor
