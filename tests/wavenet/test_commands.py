"""Every command explains itself, with an example."""

from __future__ import annotations

import pytest
import typer

import wavenet_kernels
from wavenet.cli import application

COMMANDS = typer.main.get_command(application()).commands


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_has_an_example(command, wavenet):
    done = wavenet(command, "--help")
    assert done.code == 0
    printed = " ".join(done.out.replace("│", " ").split())
    assert "Example: " in printed and f"wavenet {command} " in printed


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_is_explained(command):
    named = COMMANDS[command]
    assert [option.name for option in named.params if not option.help] == []


@pytest.mark.parametrize(
    "command",
    [
        ("augment-preview", "--data", "x"),
        ("cross-validate", "--folds", "--data", "x"),
        ("evaluate", "{run}"),
        ("export", "{run}"),
    ],
)
def test_a_file_where_a_folder_is_to_be(tones, tmp_path, wavenet, command):
    """It is said before the work."""
    file = tmp_path / "file"
    file.touch()
    command = [part.format(run=tones.run) for part in command]
    for out in (file, file / "inside"):
        done = wavenet(*command, "--out", out)
        assert done.code == 2
        assert f"--out is {out}, but {file} is a file; accepted is a folder" in done.err


def test_there_are_these_commands():
    named = set(COMMANDS)
    assert named == {
        "augment-preview",
        "cache",
        "check-data",
        "convert",
        "cross-validate",
        "demo-app",
        "doctor",
        "embed",
        "evaluate",
        "export",
        "fit-head",
        "generate",
        "info",
        "mel",
        "predict",
        "prepare",
        "report",
        "stream",
        "sweep",
        "synth",
        "timeline",
        "train",
        "vocode",
    }


def test_the_version(wavenet):
    done = wavenet("--version")
    assert (done.code, done.out) == (0, f"{wavenet_kernels.__version__}\n")


def test_help_fits_a_terminal_and_switches_take_no_value(wavenet, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = wavenet("train", "--help").out
    lines = said.split("╭")[0].splitlines()
    words = [line.split() for line in lines]
    for line, following in zip(words, words[1:], strict=False):  # no line is broken early
        if line and following:
            assert len(" ".join(line)) + len(following[0]) > 75, line
    assert "<bool>" not in said and "--resume" in said


def test_help_names_the_extra_that_is_to_be_installed(wavenet):
    said = " ".join(wavenet("demo-app", "--help").out.split())
    assert "pip install 'wavenet-kernels[app]'" in said
