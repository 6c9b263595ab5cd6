"""What the web page's button makes: what the model makes, of what it makes sound of."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from small_generators import MEL, NOTES, small_generator

from wavenet import WaveGlow, WaveGlowConfig
from wavenet.classifier import speaking
from wavenet.classifier.speaking import speak
from wavenet.data.mel import mel_spectrogram
from wavenet.data.notes import Note, note_frames
from wavenet.errors import DataError


def same(sound: speaking.Sound, expected: torch.Tensor) -> bool:
    rate, samples = sound
    whole = (expected.clamp(-1, 1) * 32767).round().short().numpy()
    return rate == 8000 and samples.dtype == np.int16 and np.array_equal(samples, whole)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "a.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(16 * 30) / 5), 8000, subtype="FLOAT")
    return path


def frames_of(path) -> torch.Tensor:
    wave = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    return mel_spectrogram(wave[None], MEL)[:, :, :30]


def test_by_a_speaker():
    model = small_generator("speakers")
    sound = speak(model, speaker="jackson", seed=3, temperature=0.8, seconds=0.01)
    expected = model.generate(speaker="jackson", seed=3, temperature=0.8, samples=80)[0]
    assert same(sound, expected)
    with pytest.raises(ValueError, match="speaker is missing; accepted are george, jackson"):
        speak(model, seconds=0.01)
    with pytest.raises(ValueError, match="temperature"):
        speak(model, speaker="george", temperature=0.0, seconds=0.01)


def test_of_a_recording(recording):
    model = small_generator("mel interpolated")
    sound = speak(model, speaker="george", seed=1, recording=recording)
    assert same(sound, model.generate(frames_of(recording), speaker="george", seed=1)[0])
    torch.manual_seed(0)
    glow = WaveGlow(WaveGlowConfig(sample_rate=8000, mel=MEL, flows=2, layers=2, channels=4))
    sound = speak(glow, seed=2, temperature=0.5, recording=recording)
    assert same(sound, glow.infer(frames_of(recording), sigma=0.5, seed=2)[0])
    with pytest.raises(DataError, match="there is no recording"):
        speak(glow)
    with pytest.raises(DataError, match="no such file"):
        speak(glow, recording=recording.with_name("none.wav"))


def test_of_a_tune():
    model = small_generator("notes")
    notes = [Note(0.0, 0.004, 60), Note(0.004, 0.01, 64)]
    frames = note_frames(notes, NOTES, torch.arange(5), 8000)[None]
    sound = speak(model, speaker="george", tune="0 0.004 C4\n0.004\t0.01\tE4")
    assert same(sound, model.generate(frames, speaker="george")[0])
    for tune, said in (("", "holds no note"), ("x", "tune, line 1: is 'x'"), ("0 1 C2", "'C2'")):
        with pytest.raises(DataError, match=said):
            speak(model, speaker="george", tune=tune)
    assert len(speak(model, speaker="george", tune="0 0.00001 60")[1]) == 1  # no sample's length
    scale = speaking._scale(NOTES)
    assert [line.split()[2] for line in scale.splitlines()] == ["60", "62", "64"]


def test_nobody_waits_for_ever(monkeypatch, recording):
    monkeypatch.setattr(speaking, "LONGEST", 0.004)
    for case, given in (
        ("codes", {"seconds": 1.0}),
        ("mel repeated", {"recording": recording}),
        ("notes", {"tune": "0\t1\t60", "speaker": "george"}),
    ):
        assert len(speak(small_generator(case), **given)[1]) == 32
