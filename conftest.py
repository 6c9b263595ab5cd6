"""README.md and docs/: their Python runs, block by block, and their commands are understood.

By sybil, which finds the blocks. A block of Python stands by itself: it can be pasted. Commands are
parsed as the shell and the program would parse them, and not run: a training takes minutes.
"""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

ROOT = Path(__file__).parent


def check_commands(example: Example) -> None:
    """Every line of a block of `sh`: what is ours has such commands, options and files."""
    text = str(example.parsed).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        for command in _commands(line):
            _check(command, line)


def _commands(line: str) -> list[list[str]]:
    """Those of a pipe, or of several in a line; a comment, and what "..." stands for, are none."""
    words = shlex.split(line, comments=True)
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("|", "&&"):
            commands.append([])
        elif word != "...":
            commands[-1].append(word)
    return [command for command in commands if command]


def _check(command: list[str], line: str) -> None:
    if command[0] in ("torchrun", "accelerate"):
        after = command.index("-m") if "-m" in command else None
        command = ["python", *command[-1:]] if after is None else command[after + 1 :]
    if command[0] == "wavenet":
        _parse(command[1:], line)
    elif command[:2] == ["python", "-m"] and command[2] == "benchmarks":
        from benchmarks.__main__ import COMMANDS

        assert len(command) == 3 or command[3] in (*COMMANDS, "--help"), line
    elif command[0] == "python" and command[1].endswith(".py"):
        assert (ROOT / command[1]).is_file(), line
    elif command[0] == "make":
        targets = [word for word in command[1:] if "=" not in word and not word.startswith("-")]
        makefile = (ROOT / "Makefile").read_text()
        assert all(f"\n{target}:" in makefile for target in targets), line


@functools.cache
def _our_commands() -> dict[str, Any]:
    """By name."""
    import typer

    from wavenet.cli import application

    return dict(typer.main.get_command(application()).commands)


def _parse(arguments: list[str], line: str) -> None:
    """As the command line would, up to the point where it would begin to work."""
    commands = _our_commands()
    assert arguments[0] in commands, line
    if "--help" not in arguments:
        commands[arguments[0]].make_context(arguments[0], arguments[1:])


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser(language="sh", evaluator=check_commands),
    ],
    patterns=["README.md", "docs/*.md"],
    excludes=["docs/generation.md"],  # one long example: tests/wavenet/generation/test_docs.py
).pytest()
