"""Opening a recording: by libsndfile, or by an ffmpeg where libsndfile doesn't know the format."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavenet.audio.containers import Peeked, container_of, unfinished_wav
from wavenet.audio.inside import inside
from wavenet.audio.mp3 import with_length
from wavenet.errors import AudioError, extra

# By their suffixes: what libsndfile decodes, and what takes an ffmpeg.
LIBSNDFILE_SUFFIXES = frozenset(
    (
        ".wav .wave .bwf .amb .flac .ogg .oga .opus .mp3 .mpga .aiff .aif .aifc .au .snd .caf .w64 "
        ".rf64 .voc .sf .ircam .nist .sph .paf .iff .svx .avr .htk .pvf .wve"
    ).split()
)
FFMPEG_SUFFIXES = frozenset(
    (
        ".m4a .m4b .aac .mp4 .3gp .3gpp .3g2 .amr .wma .webm .weba .mka .ape .wv .mpc .tta .ac3 "
        ".dts .ra .mov .mkv .avi .mp2 .mpg .mpeg .flv .ogv .ogx .spx .dsf .dff .alac"
    ).split()
)
MP3_SUFFIXES = (".mp3", ".mpga")
# Rates outside are damaged headers; resampling from 1 Hz would ask for gigabytes.
HEADER_RATES = (100, 10_000_000)
BLOCK = 1 << 20
# What libsndfile's binding raises.
UNDECODABLE = (OSError, RuntimeError, TypeError, ValueError, MemoryError)
_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's SF_COUNT_MAX: a stream whose header names no length


def ffmpeg() -> str | None:
    """The ffmpeg that is installed."""
    return shutil.which("ffmpeg")


def audio_suffixes() -> frozenset[str]:
    """The suffixes of the files that are taken for recordings here."""
    return LIBSNDFILE_SUFFIXES | FFMPEG_SUFFIXES if ffmpeg() else LIBSNDFILE_SUFFIXES


def soundfile() -> Any:
    """libsndfile's binding, loaded when it is first asked for."""
    with extra("classifier"):
        import soundfile
    return soundfile


@dataclass(frozen=True)
class Recording:
    """An open recording: its rate in Hz and its number of channels."""

    path: Path
    rate: int
    channels: int
    _file: Any

    def blocks(self, size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
        """What is left of it, float32 (n, channels) with n <= `size`, to the end.

        The header's length is not relied upon: it may be missing, or anything.

        Raises:
            AudioError: it can't be decoded.
        """
        while len(block := self._read(size)):
            yield block

    def _read(self, size: int) -> NDArray[np.float32]:
        whole = self._file.frames != _UNKNOWN_LENGTH
        try:
            with _complaints(self.path):
                if whole:
                    read: NDArray[np.float32] = self._file.read(
                        size, dtype="float32", always_2d=True
                    )
                    return read
                return self._read_on(size)
        except UNDECODABLE as error:
            sought = not self._file.subtype.startswith("DWVW")  # in which it never can
            if "psf_fseek" in str(error) and sought:  # where libsndfile expected more
                claimed = self._file.frames
                raise AudioError(
                    f"{self.path}: its header claims {claimed} samples, more than there are"
                ) from error
            raise _undecodable(self.path, error) from error

    def _read_on(self, size: int) -> NDArray[np.float32]:
        """The next samples of a stream of unknown length.

        After its last ones the binding fails to move to where more would be; they have been read by
        then, and are those that are no longer NaN.
        """
        block = np.full((size, self.channels), np.nan, np.float32)
        try:
            return block[: len(self._file.read(out=block))]
        except soundfile().LibsndfileError as error:
            if "psf_fseek" not in str(error):
                raise
            return block[~np.isnan(block[:, 0])]


@contextmanager
def open_audio(path: Path) -> Iterator[Recording]:
    """A recording of any format that libsndfile, or an ffmpeg that is installed, reads.

    The path may lead into a file of many (`wavenet.audio.inside`), where libsndfile alone reads.

    Raises:
        AudioError: the file is missing or empty, can't be decoded, or claims an absurd rate.
    """
    member = inside(path)
    if member is None:
        _require_file(path)
    with ExitStack() as stack:
        try:
            if member is None:
                opened = _open(path)
            else:  # libsndfile knows its format by its content
                opened = soundfile().SoundFile(io.BytesIO(member.read()))
            file = stack.enter_context(opened)
        except AudioError:
            raise
        except UNDECODABLE as error:
            if not _is_unknown(error):
                raise _undecodable(path, error) from error
            if member is not None or ffmpeg() is None:
                raise _unknown(path, "" if member is not None else _container(path)) from error
            file = stack.enter_context(_converted(path))
        rate = file.samplerate
        if not HEADER_RATES[0] <= rate <= HEADER_RATES[1]:
            raise AudioError(
                f"{path}: its header says {rate} Hz; {HEADER_RATES[0]} to {HEADER_RATES[1]} Hz are "
                "read"
            )
        yield Recording(path, rate, file.channels, file)


def _require_file(path: Path) -> None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise AudioError(f"{path}: no such file; an audio file is expected", "missing") from None
    except PermissionError as error:
        raise AudioError(f"{path}: can't be read ({error.strerror})") from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        what = getattr(error, "strerror", None) or error
        raise AudioError(f"{str(path)!r:.200}: is no path of a file ({what})", "missing") from None
    if stat.S_ISDIR(found.st_mode):
        raise AudioError(f"{path}: is a folder; an audio file is expected", "missing")
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(
            f"{path}: is a pipe or a device; an audio file is expected (`wavenet stream` listens "
            "to a pipe)"
        )
    if found.st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes)", "empty")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path}: can't be read ({os.strerror(errno.EACCES)})")


def _open(path: Path) -> Any:
    """By libsndfile."""
    with _complaints(path):
        content = with_length(path) if path.suffix.lower() in MP3_SUFFIXES else None
        file = soundfile().SoundFile(path if content is None else io.BytesIO(content))
        if file.frames == 0 and (with_samples := unfinished_wav(path)) is not None:
            file.close()
            file = soundfile().SoundFile(with_samples)
        return file


def _is_unknown(error: Exception) -> bool:
    """Whether libsndfile has no idea of the format; else the file is damaged.

    Of what it took for MP3 and libmpg123 finds no frame in, it says that there may be no file.
    """
    said = "[Ff]ormat not recogni[sz]ed|unknown format|not a regular file"
    return bool(re.search(said, str(error)))


def _container(path: Path) -> str:
    """What a file is by its first bytes; empty: nothing that is known."""
    with open(path, "rb") as file:
        return container_of(Peeked(file))


@contextmanager
def _converted(path: Path) -> Iterator[Any]:
    """What ffmpeg makes of the file."""
    with tempfile.TemporaryDirectory(prefix="wavenet-") as folder:
        wav = Path(folder) / "converted.wav"
        # With its scheme, no name is taken for an option or another protocol.
        source = f"file:{os.path.abspath(path)}"
        command = [ffmpeg() or "ffmpeg", "-nostdin", "-v", "error", "-i", source, "-vn"]
        command += ["-c:a", "pcm_f32le", "-rf64", "auto", str(wav)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode or not wav.is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = lines[-1] if lines else f"exit status {done.returncode}"
            raise AudioError(f"{path}: can't be decoded as audio (ffmpeg: {reason:.200})")
        with soundfile().SoundFile(wav) as file:
            yield file


def _unknown(path: Path, container: str) -> AudioError:
    """Of a format that libsndfile doesn't know, whatever the file is called."""
    holds = f"; it holds {container}" if container else ""
    sentence = f"{path}: can't be decoded as audio (Format not recognised{holds})"
    if container or path.suffix.lower() not in LIBSNDFILE_SUFFIXES:
        sentence += (
            f"; an ffmpeg that is installed would be used, or convert it: ffmpeg -i {path.name} "
            f"{path.stem}.wav"
        )
    return AudioError(sentence)


def _undecodable(path: Path, error: Exception) -> AudioError:
    """What libsndfile says of a file, as our error."""
    if isinstance(error, MemoryError):
        return AudioError(f"{path}: there is not enough memory to decode it")
    # libsndfile's own errors repeat the path and end in a full stop.
    reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return AudioError(f"{path}: can't be decoded as audio ({reason})")


_COMPLAINT = re.compile(rb"mpg123|^(Note|Warning|Error): |^$")
_one_at_a_time = threading.Lock()


@contextmanager
def _complaints(path: Path) -> Iterator[None]:
    """Where an MP3 is read: libmpg123 writes to the process's stderr of every damaged frame.

    Here it becomes one warning that names the file. What others write meanwhile goes its way later.
    """
    if path.suffix.lower() not in MP3_SUFFIXES:
        yield
        return
    with _one_at_a_time, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            lines = caught.read().splitlines(keepends=True)
            others = [line for line in lines if not _COMPLAINT.search(line)]
            os.write(2, b"".join(others))
    if len(lines) > len(others):
        warnings.warn(f"{path}: is damaged in places; what can be decoded is used", stacklevel=2)
