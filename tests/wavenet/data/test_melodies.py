"""Synthesised melodies: reproducible, as they are written down, and no other data set's folder."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from wavenet.classifier.data import AudioCache
from wavenet.classifier.data.events import find_events
from wavenet.classifier.data.synth import INSTRUMENTS, melody, write_data_set
from wavenet.classifier.data.synth.melodies import HIGHEST, LOWEST
from wavenet.errors import DataError

SMALL = {"kind": "melodies", "clips_per_class": 3, "sample_rate": 8000, "seconds": 0.5}


@pytest.mark.parametrize("instrument", sorted(INSTRUMENTS))
def test_a_melody(instrument):
    made = [
        melody(instrument, np.random.default_rng(seed), sample_rate=8000, seconds=2.0)
        for seed in range(8)
    ]
    for samples, notes in made:
        assert samples.shape == (16000,) and samples.dtype == np.float32
        assert 0.3 < np.abs(samples).max() < 0.75
        assert len(notes) >= 3 and all(LOWEST <= note.pitch <= HIGHEST for note in notes)
        assert all(a.offset <= b.onset for a, b in zip(notes, notes[1:], strict=False))
        assert all(0 <= note.onset < note.offset <= 2.0 for note in notes)
    assert len({samples.tobytes() for samples, _ in made}) == 8


def test_a_data_set_of_melodies(tmp_path):
    manifest = write_data_set(tmp_path / "tunes", **SMALL)
    clips = find_events(manifest)
    assert len(clips) == 3 * len(INSTRUMENTS)
    assert {clip.group for clip in clips} == set(INSTRUMENTS)
    cache = AudioCache(tmp_path / "cache", 8000)
    for clip in clips:
        assert clip.path.parent.name == clip.group
        assert soundfile.info(clip.path).samplerate == 8000
        last = clip.events[-1]
        note = cache.open_clip(clip)[round(last.onset * 8000) : round(last.offset * 8000)]
        assert np.abs(note).max() > 0.05
    again = write_data_set(tmp_path / "again", **SMALL)
    assert again.read_bytes() == manifest.read_bytes()
    write_data_set(tmp_path / "tunes", **SMALL)
    with pytest.raises(DataError, match="is not of a synthesised data set"):
        write_data_set(tmp_path / "tunes", **{**SMALL, "kind": "sounds"})
    with pytest.raises(DataError, match="kind is 'x'; accepted are sounds, melodies"):
        write_data_set(tmp_path / "new", **{**SMALL, "kind": "x"})
