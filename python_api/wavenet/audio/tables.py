"""Recordings inside Parquet and Arrow files, named as if the file were a folder: `x.parquet/17`.

This is how Hugging Face's `datasets` keeps them: a column of audio, of which each row holds the
content of a file. An Arrow file is mapped, and any row of it is at hand. A Parquet file is
compressed in groups of rows; the last ones that were read are kept.
"""

from __future__ import annotations

import bisect
import functools
import json
import threading
from pathlib import Path
from typing import Any

from wavenet.errors import AudioError, extra

SUFFIXES = (".parquet", ".arrow")
GROUPS_KEPT = 4


def in_table(path: Path) -> tuple[Path, str] | None:
    """The file, and the row in it, where a path leads into one."""
    file = path.parent
    if file.suffix.lower() in SUFFIXES and path.name.isdecimal() and file.is_file():
        return file, path.name
    return None


def schema_of(file: Path) -> Any:
    """A file's `pyarrow.Schema`.

    Raises:
        AudioError: it can't be read, or is damaged.
    """
    return _opened(*_state(file)).schema


def features_of(schema: Any) -> dict[str, Any]:
    """What `datasets` wrote of the columns: "_type", and of a ClassLabel "names"; {} without."""
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])
        return dict(content["info"]["features"])
    except (KeyError, ValueError, TypeError):
        return {}


def audio_column(schema: Any) -> str | None:
    """The first column of audio: a struct that holds a file's content as `bytes`."""
    import pyarrow as pa

    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return str(field.name)
    return None


def rows_of(file: Path, columns: list[str]) -> list[dict[str, Any]]:
    """All rows of some columns.

    Raises:
        AudioError: as `schema_of`.
    """
    return list(_opened(*_state(file)).rows(columns))


def read_row(file: Path, row: str) -> bytes:
    """The content of the recording in a row.

    Raises:
        AudioError: the file can't be read, or has no such row; or the row holds no recording, but
            the path of one that is gone.
    """
    opened = _opened(*_state(file))
    number = int(row)
    if number >= opened.count:
        raise AudioError(f"{file}: has {opened.count} rows, no row {number}", "missing")
    held = opened.audio(number) or {}
    if held.get("bytes") is not None:
        return bytes(held["bytes"])
    try:
        return Path(held["path"]).read_bytes()
    except (KeyError, TypeError, OSError, ValueError):
        where = f"but the path {held['path']!r}, where none is" if held.get("path") else ""
        raise AudioError(
            f"{file}: row {number} holds no recording {where}".rstrip(), "missing"
        ) from None


def count_of(file: Path) -> int:
    """Rows of a file.

    Raises:
        AudioError: as `read_row`.
    """
    return int(_opened(*_state(file)).count)


def _state(file: Path) -> tuple[Path, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise AudioError(f"{file}: can't be read ({error.strerror})", "missing") from None
    return file, found.st_size, found.st_mtime_ns


@functools.lru_cache(64)
def _opened(file: Path, size: int, changed: int) -> _Parquet | _Arrow:
    """As long as it does not change."""
    with extra("datasets"):
        import pyarrow as pa
    try:
        return (_Parquet if file.suffix.lower() == ".parquet" else _Arrow)(file)
    except (OSError, pa.ArrowException) as error:
        raise AudioError(f"{file}: can't be read as {file.suffix[1:]} ({error})") from None


class _Parquet:
    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self.file = pq.ParquetFile(file)
        self.schema = self.file.schema_arrow
        self.column = audio_column(self.schema)
        groups = range(self.file.metadata.num_row_groups)
        sizes = [self.file.metadata.row_group(group).num_rows for group in groups]
        self.starts = [sum(sizes[:group]) for group in groups]
        self.count = sum(sizes)
        self.group = functools.lru_cache(GROUPS_KEPT)(self._group)
        self.lock = threading.Lock()  # a reader is for one thread at a time

    def rows(self, columns: list[str]) -> Any:
        return self.file.read(columns=columns).to_pylist()

    def audio(self, row: int) -> Any:
        group = bisect.bisect_right(self.starts, row) - 1
        with self.lock:
            held = self.group(group)
        return held[row - self.starts[group]].as_py()

    def _group(self, group: int) -> Any:
        table = self.file.read_row_group(group, columns=[self.column], use_threads=False)
        return table.column(0)


class _Arrow:
    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        mapped = pa.memory_map(str(file))
        try:
            self.table = pa.ipc.open_stream(mapped).read_all()  # as `datasets` writes it
        except pa.ArrowInvalid:
            self.table = pa.ipc.open_file(mapped).read_all()
        self.schema = self.table.schema
        self.column = audio_column(self.schema)
        self.count = self.table.num_rows

    def rows(self, columns: list[str]) -> Any:
        return self.table.select(columns).to_pylist()

    def audio(self, row: int) -> Any:
        return self.table.column(self.column)[row].as_py()
