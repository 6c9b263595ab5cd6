"""Notes as frames, and as people write them."""

from __future__ import annotations

import pytest
import torch

from wavenet.data.notes import Note, NoteConfig, hz_of, note_frames, notes_of
from wavenet.errors import DataError

CONFIG = NoteConfig(hop=10, lowest=60, highest=63)


def test_a_frame_is_what_is_true_in_its_middle():
    notes = [Note(0.0, 0.26, 60), Note(0.14, 0.3, 63), Note(0.3, 0.5, 63)]
    frames = note_frames(notes, CONFIG, torch.arange(6), 100)
    assert CONFIG.rows == len(frames) == 5
    assert frames[0].tolist() == [1, 1, 0, 1, 0, 0]  # repeated notes have beginnings of their own
    assert frames[1].tolist() == [1, 1, 1, 0, 0, 0]
    assert frames[4].tolist() == [0, 1, 1, 1, 1, 0]
    assert not frames[2:4].any()
    anywhere = torch.tensor([4, 1, 1])
    assert torch.equal(note_frames(notes, CONFIG, anywhere, 100), frames[:, anywhere])


def test_pitches_by_number_and_by_name():
    names = ["60", "C4", "C#4", "Db4", "D4", "Eb4"]
    notes = notes_of([(0.0, 1.0, name) for name in names], CONFIG, "tune.txt")
    assert [note.pitch for note in notes] == [60, 60, 61, 61, 62, 63]
    assert hz_of(69) == 440.0 and hz_of(57) == 220.0
    for name in ("59", "B3", "64", "H4", "c4", "", "60.5", "-1"):
        with pytest.raises(DataError, match=r"tune.txt: has a note '.*MIDI numbers from 60 to 63"):
            notes_of([(0.0, 1.0, name)], CONFIG, "tune.txt")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hop": 0}, "hop is 0"),
        ({"lowest": -1}, "lowest is -1"),
        ({"lowest": 70, "highest": 69}, "highest is 69; accepted is an int from lowest to 127"),
    ],
)
def test_descriptions_of_nothing(wrong, message):
    with pytest.raises(ValueError, match=message):
        NoteConfig(**wrong)
