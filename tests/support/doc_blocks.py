"""The commands that README.md and docs/ show: every fenced block of `sh`, line by line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"sh", "python", "c", "csv", "yaml"}
FILES = {"csv", "yaml"}  # of the file that the commands below it take
# What would be typed, but stands in no fence: nobody would find it.
UNFENCED = re.compile(r"^ {4,}(wavenet|python|make|torchrun|accelerate|pip|cmake) ", re.MULTILINE)
# Commands within a sentence; RUN, NAME and the like stand for something.
SAID = re.compile(r"`((?:wavenet|python\s+-m\s+benchmarks)\s+[a-z][^`]*)`")


class Block(NamedTuple):
    """Commands of a page, and the file that is shown between them and the block before."""

    page: str
    line: int
    commands: tuple[str, ...]
    shown: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """All that are to be read."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> Iterator[Block]:
    """In the order of the pages and in theirs."""
    for path in pages():
        text, shown = path.read_text("utf-8"), ""
        for fence in FENCE.finditer(text):
            language, content = fence.groups()
            if language == "sh":
                line = text.count("\n", 0, fence.start()) + 1
                page = path.relative_to(ROOT).as_posix()
                yield Block(page, line, tuple(_commands(content)), shown)
            shown = content if language in FILES else ""


def _commands(content: str) -> Iterator[str]:
    """Without comments, which a quoted # is none of; a line that goes on is one with the next."""
    for line in content.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=False, punctuation_chars="|&")
        words.whitespace_split, words.commenters = True, "#"
        if command := " ".join(words):
            yield command
