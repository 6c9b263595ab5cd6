"""Of mkdocs: links to files of the repository, which are not in the site, become their words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[([^]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link that leads nowhere stops the build."""

    def words(match: re.Match[str]) -> str:
        path = (ROOT / "docs" / page.file.src_path).parent / match[2]
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_path}: {match[2]} leads nowhere")
        return match[1]

    return LINK.sub(words, markdown)
