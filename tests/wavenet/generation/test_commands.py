"""The commands that make sound, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from small_generators import MEL, small_generator, waveform_of

from wavenet import WaveGlow, WaveGlowConfig, load_model
from wavenet.convert import load_checkpoint, to_vocoder
from wavenet.data.griffin_lim import refine
from wavenet.data.mel import mel_spectrogram
from wavenet.generation.recordings import frames_of, hear

RATE = 8000


class Hostile:
    """A pickle of it is a program."""

    def __reduce__(self):
        return os.system, ("false",)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of small models: voices, vocoder, glow."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    sizes = {"flows": 2, "layers": 2, "channels": 4, "whiten": 16}
    glow = WaveGlow(WaveGlowConfig(sample_rate=RATE, mel=MEL, **sizes))
    for name, model in (
        ("voices", small_generator("speakers")),
        ("vocoder", small_generator("mel interpolated", speakers=(), high_pass_hz=70.0)),
        ("glow", glow),
    ):
        model.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Two recordings."""
    folder = tmp_path_factory.mktemp("sounds")
    for name, samples in (("one", 1000), ("two", 1600)):
        t = torch.arange(samples) / RATE
        wave = 0.4 * torch.sin(2 * torch.pi * 300 * t) + 0.01 * torch.randn(samples)
        soundfile.write(folder / f"{name}.wav", wave.numpy(), RATE, subtype="FLOAT")
    return folder


def test_generate_writes_what_the_model_makes(models, tmp_path, wavenet):
    command = ("generate", models / "voices", "--seconds", "0.1", "--count", "2", "--seed", "3")
    done = wavenet(*command, "--speaker", "jackson", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "samples/s, " in done.err and "times real time" in done.err
    expected = load_model(models / "voices").generate(
        seconds=0.1, count=2, speaker="jackson", seed=3
    )
    for row in range(2):
        made, rate = soundfile.read(tmp_path / "out" / f"jackson-3-{row}.wav", dtype="int16")
        assert rate == RATE
        assert np.abs(made / 32767 - expected[row].numpy()).max() < 1e-4


@pytest.mark.slow
def test_generate_pipes_pcm(models):
    command = [sys.executable, "-m", "wavenet", "generate", str(models / "voices"), "--raw"]
    command += ["--seconds", "0.1", "--speaker", "0", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    made = np.frombuffer(done.stdout, "<i2")
    expected = load_model(models / "voices").generate(seconds=0.1, speaker=0, seed=3)[0]
    assert np.array_equal(made, (expected * 32767).round().numpy().astype("<i2"))
    assert b"times real time" in done.stderr


def test_recordings_are_made_anew_and_compared(models, sounds, tmp_path, wavenet):
    out = tmp_path / "out"
    done = wavenet("vocode", models / "vocoder", sounds, "--out", out, "--compare", "--seed", "1")
    assert done.code == 0, done.err
    assert "one: log-spectral distance " in done.out and "mean of 2: " in done.out
    assert "mel-cepstral distortion " in done.out
    model = load_model(models / "vocoder")
    recording = torch.from_numpy(soundfile.read(sounds / "one.wav", dtype="float32")[0])
    heard = hear(recording, model.config)
    expected = model.generate(heard.mel[None], samples=len(heard.waveform), seed=1)[0]
    made, _ = soundfile.read(out / "one.wav")
    assert len(made) == 1008 and np.abs(made - expected.numpy()).max() < 1e-4
    assert len(soundfile.read(out / "one_ref.wav")[0]) == 1000


def test_what_a_network_made_is_refined(models, sounds, tmp_path, wavenet):
    out, plain = tmp_path / "out", tmp_path / "plain"
    for folder, options in ((out, ("--refine", "7")), (plain, ())):
        done = wavenet("vocode", models / "vocoder", sounds / "one.wav", "--out", folder, *options)
        assert done.code == 0, done.err
    model = load_model(models / "vocoder")
    recording = torch.from_numpy(soundfile.read(sounds / "one.wav", dtype="float32")[0])
    mel = frames_of(recording, model.config)[None]
    sound = model.generate(hear(recording, model.config).mel[None], samples=1008, seed=0)
    expected = refine(sound, mel, model.config.mel, 7)[0].clamp(-1, 1)
    made, _ = soundfile.read(out / "one.wav")
    assert np.abs(made - expected.numpy()).max() < 1e-4
    assert np.abs(made - soundfile.read(plain / "one.wav")[0]).max() > 1e-2


def test_no_recording_is_written_over(models, sounds, tmp_path, wavenet):
    shutil.copytree(sounds, tmp_path / "here")
    before = (tmp_path / "here" / "one.wav").read_bytes()
    done = wavenet("vocode", models / "vocoder", tmp_path / "here", "--out", tmp_path / "here")
    assert done.code == 2 and "where one.wav is a recording that is asked for" in " ".join(
        done.err.split()
    )
    assert (tmp_path / "here" / "one.wav").read_bytes() == before
    shutil.copy(sounds / "one.wav", tmp_path / "here" / "two_ref.wav")
    done = wavenet("vocode", models / "vocoder", tmp_path / "here", "--out", tmp_path / "out")
    assert done.code == 2 and "two_ref.wav would be written twice" in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()


def test_mels_of_the_front_end_are_vocoded(models, sounds, tmp_path, wavenet):
    mels, out = tmp_path / "mels", tmp_path / "out"
    done = wavenet("mel", models / "glow", sounds, "--out", mels)
    assert done.code == 0 and "2 file(s), 163 frames of 5 mels" in done.out, done.err
    frames = np.load(mels / "two.npy")
    recording = torch.from_numpy(soundfile.read(sounds / "two.wav", dtype="float32")[0])
    assert np.array_equal(frames.T, mel_spectrogram(recording[None], MEL)[0, :, :100])
    torch.save(torch.from_numpy(frames.T.copy()), mels / "three.pt")
    options = ("--sigma", "0.5", "--denoise", "0.1", "--seed", "2")
    done = wavenet("vocode", models / "glow", mels, *options, "--out", out)
    assert done.code == 0, done.err
    model = load_model(models / "glow")
    expected = model.infer(torch.from_numpy(frames.T.copy())[None], sigma=0.5, seed=2, denoise=0.1)
    for name in ("two", "three"):
        made, _ = soundfile.read(out / f"{name}.wav")
        assert np.abs(made - expected[0].clamp(-1, 1).numpy()).max() < 1e-4
    assert not (out / "two_ref.wav").exists()


def test_convert_goes_there_and_back(tmp_path, wavenet):
    model = small_generator("gaussian", head_channels=10)
    to_vocoder(model, tmp_path / "theirs.pth")
    done = wavenet("convert", tmp_path / "theirs.pth", "--out", tmp_path / "ours")
    assert done.code == 0, done.err
    assert "wavenet_vocoder, newest layout" in done.out and "the model is in" in done.out
    ours, given = load_model(tmp_path / "ours"), waveform_of(1)
    assert torch.allclose(ours(given), model(given), atol=1e-5)
    done = wavenet("convert", tmp_path / "ours", "--out", tmp_path / "back" / "again.pth")
    assert done.code == 0 and "again.pth is written" in done.out, done.err
    again = load_checkpoint(tmp_path / "back" / "again.pth")
    assert torch.allclose(again(given), ours(given), atol=1e-5)
    done = wavenet("convert", tmp_path / "theirs.pth", "--out", tmp_path / "x", "--set", "stacks=7")
    assert done.code == 2 and not (tmp_path / "x").exists()


def test_a_run_is_trained_evaluated_and_heard(recordings, tmp_path, wavenet):
    sizes = ("residual_channels=6", "dilation_channels=6", "skip_channels=8", "stacks=1")
    options = [f"model.{size}" for size in ("architecture=wavenet", "speakers=groups", *sizes)]
    options += ["model.sample_rate=4000", "model.layers_per_stack=4", "training.epochs=1"]
    options += ["data.validation_by_group=false", f"data.cache={tmp_path / 'cache'}"]
    settings = [part for option in options for part in ("--set", option)]
    run = tmp_path / "run"
    done = wavenet("train", "--data", recordings / "all.csv", "--out", run, *settings)
    assert done.code == 0, done.err
    assert "(a code of 256)" in done.out and "bits a sample after 1 epochs" in done.out
    done = wavenet("evaluate", run)
    assert done.code == 0, done.err
    said = json.loads((run / "metrics.json").read_text())
    assert said["counted"] == "a code of 256" and said["split"] == "test" and said["clips"] == 9
    assert set(said["speakers"]) == {"person0", "person1", "person2"}
    assert f"test: {said['bits_per_sample']:.4f} bits a sample (a code of 256)" in done.out
    again = wavenet("evaluate", run, "--data", recordings / "all.csv", "--split", "test")
    assert f"test: {said['bits_per_sample']:.4f} bits" in again.out
    info = " ".join(wavenet("info", run).out.replace("│", " ").split())
    assert "1 epochs, best validation " in info
    done = wavenet("generate", run, "--speaker", "person1", "--seconds", "0.1", "--out", tmp_path)
    assert done.code == 0 and (tmp_path / "person1-0-0.wav").is_file()
    assert wavenet("evaluate", run, "--snr", "10").code == 2


def test_info_says_what_it_is(models, tmp_path, wavenet):
    said = " ".join(wavenet("info", models / "voices").out.replace("│", " ").split())
    assert "softmax: bits are of a code of 256" in said and "george, jackson" in said
    small_generator("codes", layers=5).save_pretrained(tmp_path / "early")
    said = " ".join(wavenet("info", tmp_path / "early").out.replace("│", " ").split())
    assert "residual layers the first 5 of 2 x 3, " in said
    said = " ".join(wavenet("info", models / "glow").out.replace("│", " ").split())
    assert "5 mels, 0 to 4000 Hz, FFT 64, hop 16" in said and "times real time" in said
    assert "2 of 2 x 4, 3 taps, group 8" in said and "whitened 16 samples at a time" in said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "generate {voices} --out o",
            "--speaker is missing; accepted are george, jackson, or 0 to",
        ),
        ("generate {voices} --speaker bob --out o", "--speaker is bob; accepted are george"),
        ("generate {voices} --speaker 0", "--out is missing"),
        ("generate {voices} --speaker 0 --temperature 0 --out o", "silence or a buzz"),
        ("generate {voices} --speaker 0 --raw --count 2", "--raw writes one sound"),
        ("generate {voices} --speaker 0 --seconds 0 --out o", "--seconds is 0"),
        ("generate {glow} --out o", "wavenet vocode takes this one"),
        ("generate {sounds} --out o", "has no config.json"),
        ("vocode {voices} {sounds} --speaker 0 --out o", "wavenet generate takes this one"),
        (
            "vocode {vocoder} {sounds} --sigma 1 --out o",
            "it is of a WaveGlow, and this is a WaveNet",
        ),
        ("vocode {glow} {sounds} --temperature 1 --out o", "it is of a WaveNet, and this is a"),
        ("vocode {glow} {sounds} --speaker x --out o", "this model has no speakers"),
        ("vocode {glow} {sounds} --sigma -1 --out o", "--sigma is -1.0; accepted is 0 or more"),
        ("vocode {glow} {sounds}/x.wav --out o", "x.wav: there is no such file"),
        ("vocode {glow} {empty} --out o", "holds no file of"),
        ("vocode {glow} {bad}/shape.npy --out o", "has shape (4, 7); accepted is (F, 5)"),
        ("vocode {glow} {bad}/nan.npy --out o", "values that aren't finite numbers"),
        ("vocode {glow} {bad}/pickled.npy --out o", "can't be read as a mel-spectrogram"),
        ("vocode {glow} {bad}/hostile.pt --out o", "asks for posix.system, which no checkpoint"),
        ("vocode {glow} {bad}/fields.pt --out o", "holds a dict; accepted is a tensor"),
        ("vocode {glow} {bad}/array.pt --out o", "holds something else; accepted is a tensor"),
        ("vocode {glow} {bad}/list.npy --out o", "it is a list; accepted are the fields of one"),
        ("vocode {glow} {bad}/strange.npy --out o", "it has 'hops'; accepted are sample_rate"),
        ("vocode {glow} {bad}/deep.npy --out o", "has shape (1, 4, 5); accepted is (F, 5)"),
        ("vocode {glow} {bad}/good.npy --denoise 0.1 --out o", "good.npy: makes 64 samples;"),
        ("vocode {vocoder} {sounds} --refine -1 --out o", "--refine"),
        ("vocode {vocoder} {sounds}/one.wav --refine 5 --raw", "--denoise or --refine"),
        ("vocode {glow} {bad}/short.npy --refine 5 --out o", "makes 16 samples; accepted with"),
        ("vocode {voices} {sounds} --out o", "wavenet generate takes this one"),
        ("vocode {glow} {bad}/other.npy --out o", "hop 256 instead of 16"),
        ("vocode {glow} {bad}/other.npy --compare", "hop 256 instead of 16"),
        ("vocode {glow} {bad}/good.npy --compare", "--compare is given with mel-spectrograms"),
        ("vocode {glow} {sounds} --raw", "--raw is given with 2 files; accepted is one"),
        ("vocode {glow} {sounds}", "--out is missing"),
        ("mel {voices} {sounds} --out o", "has no mel-spectrograms"),
        ("mel {glow} {bad}/nan.npy --out o", "nan.npy: can't be decoded as audio"),
        ("convert {bad}/nan.npy --out o", "nan.npy"),
        ("convert {voices} --out o", "accepted of a saved model is a file .pth or .pt"),
        (
            "convert {voices} --out {voices}/model.safetensors",
            "accepted of a saved model is a file",
        ),
        ("evaluate {voices}", "does not say which data it was trained on"),
        ("predict {voices} {sounds}/one.wav", "is a wavenet; accepted here: classifier"),
    ],
)
def test_what_is_wrong_is_said(models, sounds, tmp_path, wavenet, monkeypatch, command, said):
    monkeypatch.chdir(tmp_path)
    bad, empty = tmp_path / "bad", tmp_path / "empty"
    bad.mkdir()
    empty.mkdir()
    np.save(bad / "shape.npy", np.zeros((4, 7), np.float32))
    np.save(bad / "nan.npy", np.full((4, 5), np.nan, np.float32))
    np.save(bad / "pickled.npy", np.array([{}]), allow_pickle=True)
    np.save(bad / "deep.npy", np.zeros((1, 4, 5), np.float32))
    torch.save({"mel": 1}, bad / "fields.pt")
    torch.save(np.zeros((5, 4), np.float32), bad / "array.pt")
    torch.save(Hostile(), bad / "hostile.pt")
    for name, description in (
        ("short", MEL.as_dict()),
        ("good", MEL.as_dict()),
        ("other", {**MEL.as_dict(), "hop": 256}),
        ("list", [16]),
        ("strange", {"hops": 16}),
    ):
        frames = 1 if name == "short" else 4
        np.save(bad / f"{name}.npy", np.zeros((frames, 5), np.float32))
        (bad / f"{name}.json").write_text(json.dumps(description))
    places = {name: models / name for name in ("voices", "vocoder", "glow")}
    places |= {"sounds": sounds, "bad": bad, "empty": empty}
    done = wavenet(*(part.format(**places) for part in command.split()))
    assert done.code == 2 and said in done.err
    assert not (tmp_path / "o").exists()
