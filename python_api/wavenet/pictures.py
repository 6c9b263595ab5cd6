"""Pictures of matplotlib, which is loaded with the first one: it is slow to import."""

from __future__ import annotations

import io
from typing import Any

from wavenet.errors import extra


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches. It isn't pyplot's: a notebook keeps its own state."""
    with extra("classifier"):
        from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: Any, dpi: int = 120) -> bytes:
    """The figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def colour_map(name: str) -> Any:
    """One of matplotlib's, a function of numbers."""
    with extra("classifier"):
        import matplotlib

    return matplotlib.colormaps[name]
