"""README.md and docs/: their Python runs, block by block, each by itself: it can be pasted.

By sybil, which finds the blocks. Commands run in tests/docs.
"""

from __future__ import annotations

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md"],
    excludes=["docs/generation.md"],  # one long example: tests/wavenet/generation/test_docs.py
).pytest()
