"""Data sets in tar files, as WebDataset keeps them: found, and written with an index."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wavenet.audio.opening import LIBSNDFILE_SUFFIXES
from wavenet.audio.shards import TAR, members, read_member
from wavenet.classifier.data.clips import SPLIT_NAMES, Clip, normal_label, split_of
from wavenet.classifier.data.manifest import PREPARED
from wavenet.errors import DataError

# Where a recording's label is, as WebDataset's programs write it, likeliest first.
LABEL_SUFFIXES = (".json", ".cls", ".txt")
COLUMNS = ("path", "label", "split", "fold", "group", *PREPARED, "digest")


def find_in_shards(tars: Sequence[Path]) -> list[Clip]:
    """The recordings in tar files, each with the label in the file of the same name beside it.

    That is KEY.json with "label" (and "split", "fold", "group"), KEY.cls or KEY.txt. A tar file
    called train-0000.tar, test-... is of that split.

    Raises:
        DataError: a recording without a label or of an unknown split, or a tar file that can't be
            read.
    """
    clips = []
    for tar in tars:
        split = SPLIT_NAMES.get(tar.stem.lower().partition("-")[0])
        others: dict[str, dict[str, str]] = defaultdict(dict)
        recordings = []
        for name in members(tar):
            key, suffix = _cut(name)
            if suffix in LIBSNDFILE_SUFFIXES:
                recordings.append(name)
            else:
                others[key][suffix] = name
        for name in recordings:
            known = _description(tar, name, others[_cut(name)[0]])
            clips.append(Clip(tar / name, **{"split": split, **known}))
    return clips


def _cut(name: str) -> tuple[str, str]:
    """The key and the suffix: WebDataset's key ends at the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    key, dot, suffix = last.partition(".")
    return folder + slash + key, (dot + suffix).lower()


def _description(tar: Path, name: str, others: dict[str, str]) -> dict[str, Any]:
    for suffix in LABEL_SUFFIXES:
        if suffix not in others:
            continue
        text = read_member(tar, others[suffix]).decode("utf-8", "replace").strip()
        if suffix != ".json":
            return {"label": normal_label(text)}
        try:
            content = json.loads(text)
            known = {
                name: str(content[name]).strip()
                for name in ("split", "fold", "group")
                if content.get(name) not in (None, "")
            }
            label = normal_label(str(content["label"]))
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f'{tar}: {others[suffix]} holds no label; accepted is {{"label": ...}}'
            ) from None
        if "split" in known:
            known["split"] = split_of(known["split"], f"{tar}: the split in {others[suffix]}")
        return {"label": label, **known}
    accepted = ", ".join(LABEL_SUFFIXES)
    raise DataError(
        f"{tar}: {name} has no label beside it; accepted is one of its name in {accepted}"
    )


def shard_name(number: int) -> str:
    """Of a tar file, counted from 0."""
    return f"shard-{number:06d}{TAR}"


class ShardWriter:
    """Writes clips into tar files of about one size; each appears whole or not at all.

    Args:
        folder: where shard-000000.tar, ... come.
        first: the number of the first one.
        megabytes: 10^6 bytes, after which the next one begins.
    """

    def __init__(self, folder: Path, first: int, megabytes: float) -> None:
        self.folder = folder
        self.number = first
        self.limit = megabytes * 1e6
        self.rows: list[dict[str, Any]] = []
        self._file: tarfile.TarFile | None = None

    @property
    def name(self) -> str:
        """Of the shard under way."""
        return shard_name(self.number)

    @property
    def full(self) -> bool:
        """Whether it is time for another one."""
        return self._file is not None and self._file.offset >= self.limit

    def add(self, key: str, content: bytes, known: dict[str, Any]) -> None:
        """A clip: the content of a FLAC file, and what `COLUMNS` say of it but for the path."""
        if self._file is None:
            self._file = tarfile.open(self._partial, "w", format=tarfile.USTAR_FORMAT)
        described = {name: value for name, value in known.items() if value not in (None, "")}
        for suffix, data in ((".flac", content), (".json", json.dumps(described).encode())):
            info = tarfile.TarInfo(key + suffix)
            info.size, info.mode = len(data), 0o644
            self._file.addfile(info, io.BytesIO(data))
        self.rows.append({"path": f"{self.name}/{key}.flac", **known})

    def close(self) -> list[dict[str, Any]]:
        """End the shard under way, if there is one; its rows of the index."""
        if self._file is None:
            return []
        self._file.close()
        with open(self._partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self._partial, self.folder / self.name)
        rows, self.rows, self._file = self.rows, [], None
        self.number += 1
        return rows

    @property
    def _partial(self) -> Path:
        return self.folder / f".{self.name}.partial"


def append_rows(index: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Lines for a manifest, which gets its header with the first of them."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if not index.exists():
        table.writeheader()
    table.writerows({name: row.get(name) for name in COLUMNS} for row in rows)
    with open(index, "a", encoding="utf-8") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
