"""Of mkdocs: the build stops where the reference misses a public name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

PUBLIC = (
    "wavenet_kernels",
    "wavenet_kernels.nn",
    "wavenet_kernels.calibration",
    "wavenet",
    "wavenet.nn",
    "wavenet.data",
    "wavenet.convert",
)
PARTS = {"__version__", "convert", "data", "nn"}  # documented by what is in them
HEADING = re.compile(r'id="wavenet[\w.]*\.(\w+)"')


def on_post_build(config: Any, **_: Any) -> None:
    """Looks for each name of each `__all__` among the headings of api/."""
    pages = (Path(config["site_dir"]) / "api").glob("*.html")
    found = {name for page in pages for name in HEADING.findall(page.read_text(encoding="utf-8"))}
    missing = [
        f"{module}.{name}"
        for module in PUBLIC
        for name in importlib.import_module(module).__all__
        if name not in found | PARTS
    ]
    if missing:
        raise LookupError(f"docs/api/ misses {', '.join(missing)}")
