"""README.md: a page that is read in minutes, and its five commands, typed as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
# The same in seconds: fewer, shorter sounds, and one epoch.
SHORTER = {
    "synth": ["--clips-per-class", "10", "--seconds", "0.5"],
    "train": ["--set", "training.epochs=1", "--set", "training.device=cpu"],
}


def test_it_is_a_page_and_says_early_what_has_not_been_done():
    assert len(re.findall(r"\S*\w\S*", README)) <= 720
    assert "no kernel has run on a GPU yet" in README.splitlines()[2]


@pytest.mark.slow
def test_a_classifier_in_five_commands(tmp_path, monkeypatch, wavenet):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # of decoded clips
    (block,) = (b for b in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "wavenet" in b)
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["synth", "train", "evaluate", "predict", "info"]
    for command in commands:
        if command[0] == "predict":  # a recording and a folder of them
            Path("new.wav").write_bytes(Path("sounds/rain/rain_0000.wav").read_bytes())
            Path("folder").symlink_to("sounds/wind")
        done = wavenet(*command, *SHORTER.get(command[0], []))
        assert done.code == 0, done.err
    assert "labels" in done.out
