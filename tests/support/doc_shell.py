"""Commands of the docs: run, ours in this process, others and pipes by a shell; or understood."""

from __future__ import annotations

import argparse
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import soundfile
import typer
from doc_blocks import ROOT
from doc_things import RATE, tone
from small_runs import exit_code

from benchmarks.__main__ import main as benchmarks
from wavenet.cli import application

# Stand-ins for a microphone, of which WAV or PCM comes, and for a loudspeaker, which has heard
# enough after a second.
PROGRAMS = {
    "arecord": 'case "$*" in *"-t raw"*) skip=45 ;; *) skip=1 ;; esac\n'
    'exec tail -c +$skip "$(dirname "$0")/heard.wav"',
    "aplay": "exec head -c 16000 > /dev/null",
    "python": f'exec "{sys.executable}" "$@"',
    "wavenet": f'exec "{sys.executable}" -m wavenet "$@"',
}
OF_THE_SHELL = {"|", "&&", ">", "<"}


class Shell:
    """A prompt in a folder, with a home of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        home = folder / ".home"
        programs = home / ".local" / "bin"
        programs.mkdir(parents=True)
        for name, script in PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        soundfile.write(programs / "heard.wav", tone(440.0, 3.0), RATE)
        paths = {
            "PATH": (programs, Path(sys.executable).parent, os.environ["PATH"]),
            "PYTHONPATH": (ROOT / "python_api", ROOT),
            "HOME": (home,),
            "XDG_CACHE_HOME": (home / ".cache",),  # of decoded clips
        }
        for name, several in paths.items():
            monkeypatch.setenv(name, os.pathsep.join(map(str, several)))
        monkeypatch.chdir(folder)

    def run(self, command: str) -> None:
        """As if it were typed; it must succeed."""
        words = shlex.split(command)
        if OF_THE_SHELL & set(words) or words[0] not in ("wavenet", "python"):
            by = ["bash", "-o", "pipefail", "-c", command]
            code: object = subprocess.run(by, stdin=subprocess.DEVNULL, check=False).returncode
        else:
            code = self._here(["python", "-m", *words] if words[0] == "wavenet" else words)
        assert not code, f"{command}: exit code {code}"

    def _here(self, words: list[str]) -> object:
        module = words[1] == "-m"
        program, arguments = words[1 + module], words[2 + module :]
        self._patch.delitem(sys.modules, f"{program}.__main__", raising=False)  # it runs anew

        def run() -> None:
            if module:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program, run_name="__main__")

        return exit_code(self._patch, [program, *arguments], run)


class Parsed(Exception):
    """It would begin to work now."""


def understand(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is ours in a command has such commands, options, files and targets."""
    words = shlex.split(command)
    if words[0] == "torchrun":
        words = words[words.index("-m") + 1 :]
    if words[0] == "wavenet":
        wavenet_command(words[1]).make_context(words[1], words[2:])
    elif words[:3] == ["python", "-m", "benchmarks"]:
        parse_args = argparse.ArgumentParser.parse_args

        def parse(*args: Any, **kwargs: Any) -> NoReturn:
            parse_args(*args, **kwargs)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(Parsed):
            benchmarks(words[3:])
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text("utf-8"), command
    elif words[0] == "cmake":
        assert (ROOT / words[words.index("-S") + 1] / "CMakeLists.txt").is_file(), command


def wavenet_command(name: str) -> Any:
    """As typer has it."""
    commands: dict[str, Any] = typer.main.get_command(application()).commands  # type: ignore[attr-defined]
    assert name in commands, f"wavenet {name}: there is no such command"
    return commands[name]
