"""Links between pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[([^\]]+)\]\(([\w/.-]+\.md)\)")


def test_a_page_called_by_its_title_is_that_page():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    titles = {page.read_text("utf-8").splitlines()[0].lstrip("# ").lower(): page for page in pages}
    for page in pages:
        for text, target in LINK.findall(page.read_text("utf-8")):
            meant = titles.get(text.lower(), page.parent / target)
            assert (page.parent / target).resolve() == meant.resolve(), (page.name, text)
