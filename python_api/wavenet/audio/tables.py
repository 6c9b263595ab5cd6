"""Recordings inside Parquet and Arrow files, named as if the file were a folder: `x.parquet/17`.

This is how Hugging Face's `datasets` keeps them: a column of audio, of which each row holds the
content of a file. An Arrow file is mapped, and any row of it is at hand. A Parquet file is
compressed in groups of rows; those that were read last are kept.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wavenet.audio.state import state_of
from wavenet.errors import AudioError, extra

SUFFIXES = (".parquet", ".arrow")
# Of groups of rows that are kept, in each process.
BYTES_KEPT = 128 << 20
FILES_OPEN = 128


def in_table(path: Path) -> tuple[Path, str] | None:
    """The file, and the row in it, where a path leads into one."""
    file = path.parent
    if file.suffix.lower() in SUFFIXES and path.name.isdecimal() and file.is_file():
        return file, path.name
    return None


def open_table(file: Path) -> Table:
    """A Parquet or Arrow file, opened once as long as it does not change.

    Raises:
        AudioError: it can't be read, or is damaged.
    """
    return _opened(*state_of(file))


@functools.lru_cache(FILES_OPEN)
def _opened(file: Path, size: int, changed: int) -> Table:
    with extra("datasets"):
        import pyarrow  # noqa: F401
    with _readable(file):
        return _Parquet(file) if file.suffix.lower() == ".parquet" else _Arrow(file)


class Table:
    """What both kinds have.

    Attributes:
        schema: a `pyarrow.Schema`.
        count: rows.
        column: the name of the column of audio; None without one.
        features: what `datasets` wrote of the columns: "_type", and of a ClassLabel "names".
    """

    def __init__(self, file: Path, schema: Any, count: int) -> None:
        self.file = file
        self.schema = schema
        self.count = count
        self.features = _features(schema)
        self.column = _audio_column(schema, self.features)

    def rows(self, columns: list[str]) -> list[dict[str, Any]]:
        """All rows of some columns.

        Raises:
            AudioError: they are damaged.
        """
        with _readable(self.file):
            return list(self._rows(columns))

    def named_files(self) -> list[str | None] | None:
        """The rows' paths, where no row holds a recording but each names one.

        Raises:
            AudioError: they are damaged.
        """
        if self.column is None:
            return None
        with _readable(self.file):
            return self._paths() if self.count and self._holds_none() else None

    def read(self, row: int) -> bytes:
        """The content of the recording in a row.

        Raises:
            AudioError: there is no such row, it is damaged, or it holds no recording.
        """
        if row >= self.count:
            raise AudioError(f"{self.file}: has {self.count} rows, no row {row}", "missing")
        with _readable(self.file):
            held = None if self.column is None else self._audio(row)
        if not held or held.get("bytes") is None:
            raise AudioError(f"{self.file}: row {row} holds no recording", "missing")
        return bytes(held["bytes"])

    def _rows(self, columns: list[str]) -> Any:
        raise NotImplementedError

    def _holds_none(self) -> bool:
        raise NotImplementedError

    def _paths(self) -> list[str | None]:
        raise NotImplementedError

    def _audio(self, row: int) -> Any:
        raise NotImplementedError


class _Parquet(Table):
    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self._reader = pq.ParquetFile(file)
        self._groups = [
            self._reader.metadata.row_group(group)
            for group in range(self._reader.metadata.num_row_groups)
        ]
        self._ends = list(itertools.accumulate(group.num_rows for group in self._groups))
        self._lock = threading.Lock()  # a reader is for one thread at a time
        super().__init__(file, self._reader.schema_arrow, self._ends[-1] if self._ends else 0)

    def _rows(self, columns: list[str]) -> Any:
        with self._lock:
            return self._reader.read(columns=columns).to_pylist()

    def _holds_none(self) -> bool:
        def empty(group: Any) -> bool:
            columns = [group.column(number) for number in range(group.num_columns)]
            content = [one for one in columns if one.path_in_schema == f"{self.column}.bytes"]
            statistics = content[0].statistics if content else None
            return bool(statistics is not None and statistics.null_count == group.num_rows)

        return all(map(empty, self._groups))

    def _paths(self) -> list[str | None]:
        with self._lock:
            column = self._reader.read(columns=[f"{self.column}.path"]).column(0)
        return [(held or {}).get("path") for held in column.to_pylist()]

    def _audio(self, row: int) -> Any:
        group = bisect.bisect_right(self._ends, row)
        held = _KEPT.get((self, group))
        if held is None:
            with self._lock:
                table = self._reader.read_row_group(group, [self.column], use_threads=False)
            held = table.column(0)
            _KEPT.put((self, group), held)
        return held[row - (self._ends[group - 1] if group else 0)].as_py()


class _Arrow(Table):
    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        mapped = pa.memory_map(str(file))
        try:
            self._table = pa.ipc.open_stream(mapped).read_all()  # as `datasets` writes it
        except pa.ArrowInvalid:
            self._table = pa.ipc.open_file(mapped).read_all()
        super().__init__(file, self._table.schema, self._table.num_rows)

    def _rows(self, columns: list[str]) -> Any:
        return self._table.select(columns).to_pylist()

    def _holds_none(self) -> bool:
        chunks = self._table.column(self.column).chunks
        return all(chunk.field("bytes").null_count == len(chunk) for chunk in chunks)

    def _paths(self) -> list[str | None]:
        column = self._table.column(self.column)
        return [(held or {}).get("path") for held in column.to_pylist()]

    def _audio(self, row: int) -> Any:
        return self._table.column(self.column)[row].as_py()


class _Kept:
    """Groups of rows, those that were used last, so many bytes of them at most."""

    def __init__(self) -> None:
        self._held: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: Any, group: Any) -> None:
        with self._lock:
            if key in self._held:
                return
            self._held[key] = group
            self._bytes += group.nbytes
            while self._bytes > BYTES_KEPT and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes


_KEPT = _Kept()


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        what = next(iter(str(error).splitlines()), type(error).__name__)
        raise AudioError(f"{file}: can't be read as {file.suffix[1:]} ({what})") from None


def _features(schema: Any) -> dict[str, Any]:
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])
        return dict(content["info"]["features"])
    except (KeyError, ValueError, TypeError):
        return {}


def _audio_column(schema: Any, features: dict[str, Any]) -> str | None:
    """A struct that holds a file's content as `bytes`; pictures are such, too."""
    import pyarrow as pa

    held = [
        str(field.name)
        for field in schema
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    kinds = {
        name: feature.get("_type")
        for name, feature in features.items()
        if isinstance(feature, dict)
    }
    of_audio = [name for name in held if kinds.get(name) == "Audio"]
    unknown = [name for name in held if kinds.get(name) in (None, "Audio")]
    return next(iter([*of_audio, *unknown]), None)
