"""Every command says what to do next, where there is something: commands that are understood."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest
import soundfile
import torch
import typer
import yaml
from small_generators import MEL, small_generator
from small_runs import OVERRIDES

from wavenet import WaveGlow, WaveGlowConfig
from wavenet.cli import application
from wavenet.convert import to_vocoder

COMMANDS = typer.main.get_command(application()).commands
TRAINING = [*OVERRIDES, "training.epochs=1"]

# What is typed, and what of it comes next; {run}, {data}, ... are folders and files of `things`.
STEPS = {
    "synth {tmp}/new --clips-per-class 1 --seconds 0.5": ["train", "check-data"],
    "check-data --data {folder} --config {config}": ["train"],
    "prepare --data {data} --out {tmp}/shards --label-separator ;": ["train"],
    "augment-preview --data {data} --config {config} --out {tmp}/preview --clips 1": ["train"],
    "train --data {data} --config {config} --out {tmp}/run": ["evaluate", "predict"],
    "train --data {data} --config {voices} --out {tmp}/voices": ["info", "evaluate"],
    "cross-validate --folds --data {data} --config {config} --out {tmp}/folds": ["train"],
    "sweep {sweep} --data {data} --out {tmp}/sweep": ["evaluate"],
    "evaluate {run} --split train --out {tmp}/out": ["report", "predict"],
    "report {run} --split train --snr= --out {tmp}/report.html": ["demo-app", "export"],
    "info {run}": ["predict", "export"],
    "info {speakers}": ["generate"],
    "info {glow}": ["vocode"],
    "info {player}": ["generate"],
    "generate {player} --speaker jackson --notes {tune} --out {tmp}/played": ["generate"],
    "predict {run} {wav}": ["timeline", "demo-app"],
    "timeline {run} {wav} --window 0.1 --hop 0.1": ["timeline"],
    "embed {run} {wav} --out {tmp}/vectors.npz": ["fit-head"],
    "fit-head {run} --data {data} --out {tmp}/few": ["evaluate", "predict"],
    "generate {speakers} --speaker jackson --seconds 0.01 --out {tmp}/made": ["generate"],
    "mel {glow} {wav} --out {tmp}/mels": ["vocode"],
    "vocode {glow} {wav} --out {tmp}/made": ["vocode"],
    "vocode {glow} {wav} --compare": ["vocode"],
    "convert {checkpoint} --out {tmp}/theirs": ["info"],
    "doctor": ["train"],
}
# Other programs read what these write on the standard output, or nothing comes next.
NOTHING = [
    "stream {run} {wav}",
    "predict {run} {wav} --json",
    "timeline {run} {wav} --window 0.1 --hop 0.1 --out {tmp}/labels.txt",
    "vocode {glow} {wav} --compare --out {tmp}/made",
    "convert {gaussian} --out {tmp}/theirs.pth",
    "cache --folder {tmp}",
]
# The files of `export` are for programs of others; of `demo-app` the page is what comes next.
ELSEWHERE = {"export", "demo-app"}


@pytest.fixture(scope="module")
def things(recordings, tones, tmp_path_factory):
    """Models of every kind, recordings, configurations."""
    folder = tmp_path_factory.mktemp("next steps")  # a name that has to be quoted
    small_generator("speakers").save_pretrained(folder / "speakers")
    glow = WaveGlow(WaveGlowConfig(sample_rate=8000, mel=MEL, flows=2, layers=2, channels=4))
    glow.save_pretrained(folder / "glow")
    small_generator("notes").save_pretrained(folder / "player")
    (folder / "tune.txt").write_text("0\t0.01\tC4\n")
    (folder / "theirs").mkdir()
    gaussian = small_generator("gaussian", head_channels=10)
    gaussian.save_pretrained(folder / "gaussian")
    to_vocoder(gaussian, folder / "theirs" / "checkpoint.pth")
    soundfile.write(folder / "a b.wav", 0.1 * torch.randn(2000).numpy(), 8000)
    return {
        "run": shutil.copytree(tones.run, folder / "run"),
        "folder": recordings,
        "data": recordings / "all.csv",
        "wav": folder / "a b.wav",
        "speakers": folder / "speakers",
        "glow": folder / "glow",
        "player": folder / "player",
        "tune": folder / "tune.txt",
        "gaussian": folder / "gaussian",
        "checkpoint": folder / "theirs" / "checkpoint.pth",
        **_configurations(folder),
    }


def _configurations(folder):
    sections: dict = {"data": {"cache": str(folder / "cache")}}
    for override in TRAINING:
        name, value = override.split("=")
        section, field = name.split(".")
        sections.setdefault(section, {})[field] = yaml.safe_load(value)
    sections["model"]["dropout"] = 0.0
    voices = {name: sections[name] for name in ("data", "training")}
    voices["model"] = {"architecture": "wavenet", "sample_rate": 4000, "layers_per_stack": 2}
    voices["model"] |= {"residual_channels": 4, "dilation_channels": 4, "skip_channels": 4}
    varied = {**sections, "sweep": {"augmentation.gain_db": [0.0], "training.seed": [0]}}
    contents = {"config": sections, "voices": voices, "sweep": varied}
    for name, content in contents.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return {name: folder / f"{name}.yaml" for name in contents}


def _run(wavenet, typed, things, tmp_path):
    words = [word.format(**things, tmp=tmp_path) for word in shlex.split(typed.replace(";", "';'"))]
    done = wavenet(*words)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.parametrize("typed", STEPS)
def test_what_comes_next(typed, things, tmp_path, monkeypatch, wavenet):
    monkeypatch.chdir(tmp_path)
    said = _run(wavenet, typed, things, tmp_path)
    block = re.search(r"^next: wavenet .*\n(      wavenet .*\n)*\Z", said, re.M)
    assert block, said
    lines = [shlex.split(line[6:], comments=True)[1:] for line in block[0].splitlines()]
    assert [line[0] for line in lines] == STEPS[typed]
    for command, *words in lines:
        COMMANDS[command].make_context(command, list(words))
        if command == "generate" and "TUNE.txt" not in words:
            assert wavenet(command, *words).code == 0, words


@pytest.mark.parametrize("typed", NOTHING)
def test_where_programs_read_nothing_is_added(typed, things, tmp_path, wavenet):
    assert "next:" not in _run(wavenet, typed, things, tmp_path)


def test_every_command_is_here():
    typed = {line.split()[0] for line in [*STEPS, *NOTHING]}
    assert typed | ELSEWHERE == set(COMMANDS)
