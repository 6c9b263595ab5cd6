"""Decoded clips kept in memory and on disk, so that a data set is decoded and resampled once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wavenet.audio.inside import inside
from wavenet.audio.reading import decode, require_channel
from wavenet.classifier.data.cache_folder import KEPT, limit_bytes, prune, size_of
from wavenet.classifier.data.clips import Clip
from wavenet.errors import AudioError, DataError

# Part of every key: raise it when the same file would decode to other samples.
FORMAT_VERSION = 2


def default_cache_folder() -> Path:
    """`$WAVENET_CACHE`, else `$XDG_CACHE_HOME/wavenet`, else `~/.cache/wavenet`.

    Where the user has no home (an unknown uid in a container), a folder for temporary files.
    """
    if folder := os.environ.get("WAVENET_CACHE"):
        return Path(folder).expanduser()
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "wavenet"
    try:
        return Path.home() / ".cache" / "wavenet"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"wavenet-{os.getuid()}"


class AudioCache:
    """Clips at one sample rate, mono, decoded at most once.

    Two layers. In memory the first clips that fit into a budget (a training run visits all clips
    equally often, so evicting would only churn). On disk one .npy file per clip, keyed by the
    recording's absolute path, size, modification time, the sample rate and the channel; it outlives
    the run and is mapped, not read, so a crop of a long file costs only the crop. Deleting the
    folder is safe at any time.

    The folder has a limit (`cache_folder.limit_bytes`), beyond which the clips go that were not
    used for longest; those of this run stay, and if they alone are too many, some are not stored.

    Recordings inside tar and Arrow files are neither kept in memory nor stored: there are too many
    of them, and they are decoded quickly. Those in Parquet files are stored: there one is read with
    many others.

    A damaged cache file is decoded anew. A folder that can't be written (read-only, full) gives
    one warning and the cache goes on without it. Threads and DataLoader workers may share one
    cache: files appear whole (written aside, then renamed), and a worker started by fork sees the
    clips already in memory. A pickled cache leaves its memory layer behind.

    Args:
        folder: where the disk layer lives; None means `default_cache_folder()`.
        sample_rate: in Hz, of every clip that is handed out.
        channel: as `read_audio`'s.
        memory_bytes: budget of the memory layer; 0 switches it off.

    Raises:
        DataError: an argument is out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        sample_rate: int,
        *,
        channel: int = 0,
        memory_bytes: int = 1 << 29,
    ) -> None:
        if sample_rate < 1:
            raise DataError(f"sample_rate is {sample_rate}; at least 1 Hz is accepted")
        if memory_bytes < 0:
            raise DataError(f"memory_bytes is {memory_bytes}; 0 or more is accepted")
        require_channel(channel)
        self.sample_rate = sample_rate
        self.channel = channel
        self.memory_bytes = memory_bytes
        self.folder = default_cache_folder() if folder is None else Path(folder)
        self._writable = True
        self._limit = limit_bytes()
        self._started = time.time()
        self._size: int | None = None  # of the folder, once that matters
        self._full = False
        self._memory: dict[str, NDArray[np.float32]] = {}
        self._memory_used = 0
        self._lock = threading.Lock()

    def open(self, path: str | os.PathLike[str]) -> NDArray[np.float32]:
        """The clip's samples, float32 (T,), read-only, possibly mapped from the disk layer.

        Raises:
            AudioError: as `read_audio`.
        """
        key = os.fspath(path)
        samples = self._memory.get(key)
        if samples is None:
            samples = self._open_uncached(Path(path))
            samples.flags.writeable = False
            if inside(Path(path)) is None:
                samples = self._remember(key, samples)
        return samples

    def length_of(self, clip: Clip) -> int:
        """Samples of a clip; it is decoded only where nothing else says so.

        Raises:
            AudioError: as `read_audio`.
        """
        known = clip.prepared_samples(self.sample_rate)
        return self.open_clip(clip).size if known is None else known

    def open_clip(self, clip: Clip) -> NDArray[np.float32]:
        """The samples of a clip, which may be a part of a recording, as `open` gives them.

        Raises:
            AudioError: as `read_audio`; or the recording ends before the clip starts.
        """
        samples = self.open(clip.path)
        if not clip.start and clip.end is None:
            return samples
        end = None if clip.end is None else round(clip.end * self.sample_rate)
        part = samples[round(clip.start * self.sample_rate) : end]
        if not part.size:
            seconds = samples.size / self.sample_rate
            raise AudioError(f"{clip.name}: the recording ends at {seconds:g} s", "empty")
        return part

    def read(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """The clip's samples as the caller's own tensor, float32 (T,).

        Raises:
            AudioError: as `read_audio`.
        """
        return torch.from_numpy(np.array(self.open(path)))

    def _open_uncached(self, path: Path) -> NDArray[np.float32]:
        stored = self._stored(path)
        if stored is None:
            return decode(path, self.sample_rate, self.channel)
        samples = _load(stored)
        if samples is not None:
            with contextlib.suppress(OSError):
                os.utime(stored)  # what was used lately goes last
        else:
            samples = decode(path, self.sample_rate, self.channel)
            self._store(stored, samples)
        return samples

    def _stored(self, path: Path) -> Path | None:
        """Where the disk layer keeps this clip; None without the clip."""
        member = inside(path)
        if member is not None and member.at_hand:
            return None
        try:
            stat = (path if member is None else member.file).stat()
        except (OSError, ValueError):
            return None  # decoding says what is wrong with the path
        identity = (
            FORMAT_VERSION,
            os.path.abspath(path),
            stat.st_size,
            stat.st_mtime_ns,
            self.sample_rate,
            *([self.channel] if self.channel else []),
        )
        name = hashlib.sha256("\0".join(map(str, identity)).encode(errors="surrogateescape"))
        digest = name.hexdigest()
        return self.folder / digest[:2] / f"{digest[2:40]}.npy"

    def _store(self, target: Path, samples: NDArray[np.float32]) -> None:
        if not self._writable or not self._has_room(samples.nbytes):
            return
        partial = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(partial, "wb") as file:
                    np.save(file, samples, allow_pickle=False)
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            with self._lock:
                warn, self._writable = self._writable, False
            if warn:
                warnings.warn(
                    f"the audio cache {self.folder} can't be written ({error.strerror or error}); "
                    "going on without it: clips that don't fit in memory are decoded every time",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes more may be stored, after others have gone if need be."""
        with self._lock:
            if self._size is None:
                self._size = size_of(self.folder)
            if self._size + size > self._limit and not self._full:
                goal = round(KEPT * self._limit) - size
                self._size = prune(self.folder, max(0, goal), used_before=self._started)
                self._full = self._size + size > self._limit  # of clips that stay
            fits = not self._full
            self._size += size if fits else 0
        return fits

    def _remember(self, key: str, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._memory_used + samples.nbytes > self.memory_bytes:
            return samples
        if isinstance(samples, np.memmap):
            samples = np.array(samples)
            samples.flags.writeable = False
        with self._lock:
            fits = self._memory_used + samples.nbytes <= self.memory_bytes
            if fits and key not in self._memory:
                self._memory[key] = samples
                self._memory_used += samples.nbytes
        return samples

    def __getstate__(self) -> dict[str, Any]:
        # A worker that got a pickled copy lives for an epoch; the disk layer serves it.
        memory_bytes = 0 if self._writable else self.memory_bytes
        state = {"_memory": {}, "_memory_used": 0, "_lock": None, "memory_bytes": memory_bytes}
        return {**self.__dict__, **state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _load(path: Path) -> NDArray[np.float32] | None:
    """Map a cache file; None if it isn't there or is damaged."""
    try:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # whatever a damaged header makes NumPy say: decode anew
        return None
    whole = isinstance(samples, np.ndarray) and samples.ndim == 1 and samples.dtype == np.float32
    return samples if whole and samples.size else None
