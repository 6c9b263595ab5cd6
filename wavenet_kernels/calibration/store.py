"""Where decisions and verdicts are remembered: in memory, and in one JSON file an entry.

A file is written beside its name and renamed, so that any number of processes may write at once and
be killed at any moment. Whatever can't be read is a miss; a folder that can't be written leaves the
memory, which is said once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import warnings
from pathlib import Path

from wavenet_kernels.calibration.keys import SCHEMA, Json, digest

DECISIONS, VERDICTS, REPORTS = "decisions", "verdicts", "reports"

_memory: dict[tuple[str, str], Json] = {}
_said: set[Path] = set()


def folder() -> Path:
    """`$WAVENET_KERNELS_CACHE`, else wavenet_kernels in `$XDG_CACHE_HOME` or `~/.cache`.

    Where the user has no home (an unknown uid in a container), a folder for temporary files.
    """
    if named := os.environ.get("WAVENET_KERNELS_CACHE"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache:
        return Path(cache) / "wavenet_kernels"
    try:
        return Path.home() / ".cache" / "wavenet_kernels"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"wavenet_kernels-{os.getuid()}"


def is_empty() -> bool:
    """Whether no decision is on the disk or in memory."""
    if any(section == DECISIONS for section, _ in _memory):
        return False
    try:
        with os.scandir(folder() / DECISIONS) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def read(section: str, key: Json) -> Json | None:
    """The entry of that key, if there is one that can be read."""
    name = digest(key)
    found = _memory.get((section, name))
    if found is None:
        found = _load(folder() / section / f"{name}.json")
        if found is not None:
            _memory[section, name] = found
    return found


def write(section: str, entry: Json) -> Path | None:
    """Remember an entry, a mapping whose "key" names it; where it is on the disk, if it is."""
    name = digest(entry["key"])
    _memory[section, name] = entry
    path = folder() / section / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps(entry, indent=1) + "\n")
    except OSError as error:
        if folder() not in _said:
            _said.add(folder())
            warnings.warn(
                f"wavenet_kernels: {folder()} can't be written ({error.strerror}), so what is "
                "measured is forgotten with this process; WAVENET_KERNELS_CACHE names another "
                "folder",
                stacklevel=2,
            )
        return None
    return path


def entries(section: str) -> list[Json]:
    """All that can be read, by name."""
    found = {name: entry for (where, name), entry in _memory.items() if where == section}
    with contextlib.suppress(OSError):
        for path in (folder() / section).glob("*.json"):
            if path.stem not in found and (entry := _load(path)) is not None:
                found[path.stem] = entry
    return [found[name] for name in sorted(found)]


def forget_memory() -> None:
    """Read files again."""
    _memory.clear()
    _said.clear()


def forget() -> None:
    """Remove every entry, of every device and build."""
    forget_memory()
    for section in (DECISIONS, VERDICTS, REPORTS):
        shutil.rmtree(folder() / section, ignore_errors=True)


def _load(path: Path) -> Json | None:
    """None where there is no such entry, or what is there is damaged, or another's."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        key, content = entry["key"], entry["content"]
        whole = digest(key) == path.stem and digest(content) == entry["digest"]
        return entry if whole and key["schema"] == SCHEMA else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def entry_of(key: Json, content: object) -> Json:
    """An entry that says whether it is whole."""
    return {"key": key, "content": content, "digest": digest(content)}


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, whoever else writes it at that moment.

    It is not synced to the disk: what a crash of the machine leaves is whole or a miss. What is no
    file, as /dev/stdout, is written to and stays.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
