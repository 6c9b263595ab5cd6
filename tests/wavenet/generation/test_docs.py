"""What docs/generation.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_examples_run():
    text = (DOCS / "generation.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert "generate(" in code and "infer(" in code
    exec(compile(code, "docs/generation.md", "exec"), {})
