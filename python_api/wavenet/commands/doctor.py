"""`wavenet doctor`: what is slow or missing here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from wavenet.commands.common import console, say, suggest

if TYPE_CHECKING:
    from wavenet_kernels.doctor import Finding

STYLES = {"good": "green", "slow": "yellow", "missing": "red"}
# Modules, the extra that has them, and what is not there without them.
PARTS = (
    (("onnx", "onnxscript", "onnxruntime"), "export", "wavenet export to ONNX"),
    (("gradio",), "app", "wavenet demo-app"),
)


def doctor() -> None:
    """What is slow or missing on this machine, and how to mend it.

    Nothing is changed. Exit code 1: something is missing without which nothing is fast.

    Example: wavenet doctor
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet_kernels.doctor import findings

    found = [*findings(), *_parts(), _formats(), _cache()]
    table = Table("", "state", "what is here", "to mend it")
    for finding in found:
        state = f"[{STYLES[finding.state]}]{finding.state}"
        table.add_row(finding.what, state, escape(finding.detail), escape(finding.remedy))
    console.print(table)
    slow, missing = ([f.what for f in found if f.state == state] for state in ("slow", "missing"))
    if not slow and not missing:
        say("nothing is slow or missing")
    else:
        say(f"slow: {', '.join(slow) or 'nothing'}; missing: {', '.join(missing) or 'nothing'}")
    if "CPU kernels" in missing:
        raise typer.Exit(1)
    suggest((["train", "--data", "FOLDER"], "a model of recordings, a folder for each class"))


def _parts() -> list[Finding]:
    from importlib.util import find_spec

    from wavenet_kernels.doctor import Finding

    found = []
    for modules, extra, what in PARTS:
        absent = [module for module in modules if find_spec(module) is None]
        if absent:
            detail = f"{', '.join(absent)}: needed by {what} alone"
            remedy = f"pip install 'wavenet-kernels[{extra}]'"
            found.append(Finding(extra, "missing", detail, remedy))
        else:
            found.append(Finding(extra, "good", f"{what} works"))
    return found


def _formats() -> Finding:
    from wavenet.audio.opening import ffmpeg
    from wavenet_kernels.doctor import Finding

    if path := ffmpeg():
        return Finding("formats", "good", f"M4A, WMA, WebM and others are read by {path}")
    detail = "no ffmpeg: M4A, AAC, WMA, WebM, ... are not read; WAV, FLAC, OGG, MP3, ... are"
    return Finding("formats", "missing", detail, "apt install ffmpeg, or the like")


def _cache() -> Finding:
    import shutil

    from wavenet.classifier.data import default_cache_folder
    from wavenet.classifier.data.cache_folder import LIMIT_NAME, limit_bytes
    from wavenet_kernels.doctor import Finding

    folder = default_cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free, limit = shutil.disk_usage(there).free, limit_bytes()
    detail = f"decoded clips are kept in {folder}: {free / 1e9:.1f} GB are free there"
    if free < min(limit, 5e9):
        return Finding("disk", "slow", detail, f"wavenet cache --keep-gb 1, or {LIMIT_NAME}=1")
    return Finding("disk", "good", detail)
