"""Models that play: from synthesised melodies to a tune of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_generators import SIZES, small_generator
from small_runs import quiet

from wavenet import GeneratorConfig, WaveNet, load_model
from wavenet.classifier.data.parts import GenerationClips, notes_in
from wavenet.classifier.data.synth import INSTRUMENTS, write_data_set
from wavenet.classifier.inference.evaluate import choose_clips
from wavenet.classifier.inference.likelihood import likelihood
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training import train
from wavenet.convert import to_vocoder
from wavenet.data.notes import Note, NoteConfig, note_frames
from wavenet.errors import DataError, ModelError
from wavenet.generation.recordings import hear

SMALL = (
    *("residual_channels=6", "dilation_channels=6", "skip_channels=8"),
    *("layers_per_stack=4", "stacks=1"),
)


@pytest.fixture(scope="module")
def tunes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tunes")
    return write_data_set(
        folder / "tunes", kind="melodies", clips_per_class=5, sample_rate=8000, seconds=0.5
    )


@pytest.fixture(scope="module")
def run(tunes):
    """What a short training by the installed configuration leaves."""
    settings = [f"model.{size}" for size in SMALL]
    settings += [f"data.source={tunes}", f"data.cache={tunes.parent / 'cache'}"]
    config = load_config(Path("melodies"), [*settings, "training.epochs=2", "training.device=cpu"])
    train(config, tunes.parent.parent / "run", console=quiet())
    return tunes.parent.parent / "run"


def test_a_run_learns_to_play(run):
    model = load_model(run)
    assert isinstance(model, WaveNet)
    assert model.config.speakers == tuple(sorted(INSTRUMENTS))
    assert model.config.notes == NoteConfig(64, 48, 72) and model.config.upsample == "repeat"
    sound, rate = soundfile.read(run / "sounds" / "epoch-0002.wav")
    assert rate == 8000 and len(sound) == 4032
    chosen = choose_clips(run, model.config, None, "test")
    assert {clip.label for clip in chosen.clips} == set(INSTRUMENTS)
    assert all(notes_in(clip, model.config) for clip in chosen.clips)
    with_notes = likelihood(model, chosen.clips, chosen.cache).loss
    assert 0 < with_notes < 5.6
    moved = choose_clips(run, model.config, run.parent / "tunes", "test")
    assert {clip.label for clip in moved.clips} == set(INSTRUMENTS)
    assert likelihood(model, moved.clips, moved.cache).loss == pytest.approx(with_notes)


def test_evaluate_and_info_as_a_user_runs_them(run, wavenet):
    done = wavenet("evaluate", run)
    assert done.code == 0 and "flute" in done.out, done.err
    done = wavenet("info", run)
    assert done.code == 0 and "MIDI 48 to 72, hop 64" in done.out + done.err


def test_parts_have_the_frames_of_the_whole(run, tunes):
    model = load_model(run)
    chosen = choose_clips(run, model.config, None, "train")
    notes = notes_in(chosen.clips[0], model.config)
    parts = GenerationClips(chosen.clips, model.config, chosen.cache, crop=512, training=True)
    waveform = torch.from_numpy(chosen.cache.open_clip(chosen.clips[0]).copy())
    whole = hear(waveform, model.config, notes=notes)
    expected = note_frames(notes, model.config.notes, torch.arange(63), 8000)
    assert torch.equal(whole.mel, expected) and expected[0].sum() == len(notes)
    part = parts[0]
    places = [
        at
        for at in range(0, len(whole.waveform) - 511, 64)
        if torch.equal(whole.waveform[at : at + 512], part.waveform)
    ]
    assert len(places) == 1
    at = places[0] // 64
    assert torch.equal(part.mel, whole.mel[:, at : at + 8])


def test_context_of_notes_is_that_of_the_whole():
    notes = [Note(0.0, 0.01, 60), Note(0.02, 0.05, 62)]
    description = NoteConfig(hop=16, lowest=60, highest=64)
    config = GeneratorConfig(**SIZES, notes=description, context_frames=2)
    waveform = torch.zeros(16 * 12)
    whole = hear(waveform, config, notes=notes).mel
    assert whole.shape == (6, 16)
    part = hear(waveform, config, 48, 32, notes).mel
    assert torch.equal(part, whole[:, 3:9])


def test_a_tune_is_played(run, tmp_path, wavenet):
    tune = tmp_path / "tune.txt"
    tune.write_text("0\t0.1\tC4\n0.1\t0.25\t67\n")
    command = ("generate", run, "--speaker", "flute", "--seed", "5", "--notes", tune)
    done = wavenet(*command, "--count", "2", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    model = load_model(run)
    notes = [Note(0.0, 0.1, 60), Note(0.1, 0.25, 67)]
    frames = note_frames(notes, model.config.notes, torch.arange(32), 8000)
    expected = model.generate(frames[None].expand(2, -1, -1), speaker="flute", seed=5)
    for row in range(2):
        made, rate = soundfile.read(tmp_path / "out" / f"flute-5-{row}.wav", dtype="int16")
        assert rate == 8000 and len(made) == 2000
        assert np.abs(made / 32767 - expected[row, :2000].numpy()).max() < 1e-4
    done = wavenet(*command, "--seconds", "0.05", "--out", tmp_path / "short")
    assert done.code == 0 and len(soundfile.read(tmp_path / "short" / "flute-5-0.wav")[0]) == 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\t1\tE2\n", "has a note 'E2'; accepted are MIDI numbers from 48 to 72"),
        ("0\t1\n", "line 1: is '0.t1'; accepted are start, end and label"),
        ("0\tinf\tC4\n", "line 1: is '0.tinf.tC4'; accepted are start, end"),
        ("", "holds no note"),
        (None, "--notes is missing; this model plays notes"),
    ],
)
def test_tunes_that_cannot_be_played(run, tmp_path, wavenet, text, said):
    tune = tmp_path / "tune.txt"
    given = () if text is None else ("--notes", tune)
    tune.write_text(text or "")
    done = wavenet("generate", run, "--speaker", "flute", "--out", tmp_path / "out", *given)
    said_on_a_line = " ".join(done.err.split())
    assert done.code == 2 and said.replace(".t", "\\t") in said_on_a_line, done.err


def test_a_tune_begins_with_the_sound_whatever_the_context(tmp_path, wavenet):
    context = {"context_frames": 2, "upsample_convolution": True, "upsample": "interpolate"}
    model = small_generator(
        "notes", **context, upsample_scales=(small_generator("notes").config.hop,)
    )
    model.save_pretrained(tmp_path / "run")
    rate, hop = model.config.sample_rate, model.config.hop
    notes = [Note(0.0, 10 * hop / rate, 60)]
    (tmp_path / "tune.txt").write_text(f"0\t{notes[0].offset}\t60\n")
    options = ("--notes", tmp_path / "tune.txt", "--seed", 3, "--out", tmp_path)
    done = wavenet("generate", tmp_path / "run", "--speaker", "george", *options)
    assert done.code == 0, done.err
    frames = hear(torch.zeros(10 * hop), model.config, notes=notes).mel
    expected = model.generate(frames[None], samples=10 * hop, speaker="george", seed=3)
    sound, _ = soundfile.read(tmp_path / "george-3-0.wav")
    assert np.abs(sound - expected[0].numpy()).max() < 1e-4


def test_a_pitch_that_there_is_not_makes_no_frames():
    with pytest.raises(DataError, match="has the pitch 59; accepted are 60 to 72"):
        note_frames([Note(0.0, 1.0, 59)], NoteConfig(64, 60, 72), torch.arange(4), 8000)


def test_what_does_not_fit_is_said(run, tmp_path, wavenet, tunes):
    small_generator("speakers").save_pretrained(tmp_path / "voices")
    tune = tmp_path / "tune.txt"
    tune.write_text("0\t1\tC4\n")
    command = ("--speaker", "george", "--notes", tune, "--out", tmp_path / "out")
    done = wavenet("generate", tmp_path / "voices", *command)
    assert done.code == 2 and "this model is not conditioned on notes" in done.err
    done = wavenet("vocode", run, tunes.parent, "--speaker", "flute", "--out", tmp_path / "out")
    assert done.code == 2 and "wavenet generate takes this one" in " ".join(done.err.split())
    with pytest.raises(ValueError, match=r"conditioned on frames of notes \(B, 26, F\)"):
        load_model(run).generate(speaker="flute", seconds=1.0)
    with pytest.raises(ModelError, match="has "):
        to_vocoder(load_model(run), tmp_path / "out.pth")


def test_a_note_beyond_the_description_stops_before_training(tunes, tmp_path):
    settings = [f"data.source={tunes}", "model.notes={hop: 64, lowest: 60}"]
    with pytest.raises(DataError, match=r"_\d{4}.wav: has a note '.*numbers from 60 to 108"):
        train(load_config(Path("melodies"), settings), tmp_path / "run", console=quiet())
