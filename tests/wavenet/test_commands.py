"""Every command explains itself, with an example."""

from __future__ import annotations

import pytest
import typer

from wavenet.cli import app


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))
def test_help_has_an_example(command, wavenet):
    done = wavenet(command, "--help")
    assert done.code == 0
    printed = " ".join(done.out.replace("│", " ").split())
    assert "Example: " in printed and f"wavenet {command} " in printed


def test_there_are_these_commands():
    named = set(typer.main.get_command(app).commands)
    assert named == {
        "augment-preview",
        "check-data",
        "cross-validate",
        "demo-app",
        "evaluate",
        "export",
        "info",
        "predict",
        "report",
        "stream",
        "synth",
        "timeline",
        "train",
    }
