"""Of mkdocs: links to files of the repository, which are not in the site, become their words.

Those of notebooks, which mkdocs does not look at, become links to the site's pages, and the one to
the results stays one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "../benchmarks/results/README.md"
LINK = re.compile(r"\[([^]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")
# Between two pieces of one output, which ends wherever a command's buffer did.
PIECES = re.compile(
    r'</pre>\s*</div>\s*</div>\s*<div class="jp-OutputArea-child">\s*'
    r'<div class="jp-OutputPrompt jp-OutputArea-prompt"></div>\s*'
    r'<div class="jp-RenderedText jp-OutputArea-output" data-mime-type="text/plain"[^>]*>\s*<pre>'
)
PAGE = re.compile(r'href="(?!https?:)([^"#]+)\.md')


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link that leads nowhere stops the build."""

    def words(match: re.Match[str]) -> str:
        _require(page, match[2])
        return f"[{match[1]}](results.md{match[3] or ''})" if match[2] == RESULTS else match[1]

    return LINK.sub(words, markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """The same of a notebook's; and a colon of a docstring's, which has two before code, is one."""

    def link(match: re.Match[str]) -> str:
        _require(page, f"{match[1]}.md")
        return f'href="{match[1]}.html'

    html = html.replace("::</p>", ":</p>")
    html = PIECES.sub("", html)
    return PAGE.sub(link, html) if page.file.src_path.endswith(".ipynb") else html


def _require(page: Any, target: str) -> None:
    if not ((ROOT / "docs" / page.file.src_path).parent / target).exists():
        raise FileNotFoundError(f"{page.file.src_path}: {target} leads nowhere")
