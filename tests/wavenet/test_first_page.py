"""README.md: a page that is read in minutes."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_it_is_a_page_and_says_early_what_has_not_been_done():
    assert len(re.findall(r"\S*\w\S*", README)) <= 720
    assert "no kernel has run on a GPU yet" in README.splitlines()[2]
