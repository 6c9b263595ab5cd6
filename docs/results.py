"""Of mkdocs: what was measured, which lies outside docs/, as a page of the site with its plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds results.md and its pictures."""
    page = {"results.md": RESULTS / "README.md"}
    plots = {f"plots/{path.name}": path for path in (RESULTS / "plots").glob("*.svg")}
    for name, path in (page | plots).items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files
