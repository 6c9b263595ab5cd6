"""A row of measurements: a contender's figures in one place, or the error for which it has none.

Its keys say what the figures are in. Here is what those who write rows and those who read them
have in common.
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

EAGER, AGAIN = "eager", "eager again"  # the same twice, which shows the noise
PLAIN = "ours cpu, plain"  # without fast convolutions
BEHIND = "ours reference"  # eager PyTorch behind our operators: what those add


def sentence(error: Exception) -> str:
    """An exception in the one line that a row has for it."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
