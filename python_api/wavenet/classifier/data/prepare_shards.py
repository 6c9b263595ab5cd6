"""A data set made ready once: at one rate, trimmed, cut, without copies, in tar files."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavenet.audio.opening import soundfile
from wavenet.audio.reading import decode, require_sound
from wavenet.classifier.data.clips import Clip
from wavenet.classifier.data.layouts import MANIFEST_NAME
from wavenet.classifier.data.shards import COLUMNS, ShardWriter, append_rows, shard_name
from wavenet.classifier.data.splits import are_parts, grouped_by_recording
from wavenet.errors import AudioError, DataError, require_field
from wavenet.files import replace_file

STATE_NAME = "prepare.json"
# So many recordings are decoded ahead of the one that is written.
AHEAD = 32
THREADS = 4
# A last piece shorter than this part of a whole one is left out.
SHORTEST_PIECE = 0.5
ACCEPTED = "accepted is a new folder"


@dataclass(frozen=True)
class Preparation:
    """What becomes of recordings.

    Attributes:
        rate: in Hz.
        trim_db: silence at both ends is cut off, which is what stays so many decibels below the
            peak; 0: nothing is.
        cut_seconds: longer recordings are cut into pieces of this; a last one of less than half of
            it is left out; 0: they are not cut.
        deduplicate: of pieces with the same samples the first is kept.
        channel: which one is heard, counted from 1; 0: the mean of all.
        shard_mb: size of a tar file, in 10^6 bytes.
    """

    rate: int = 16000
    trim_db: float = 0.0
    cut_seconds: float = 0.0
    deduplicate: bool = True
    channel: int = 0
    shard_mb: float = 256.0

    def __post_init__(self) -> None:
        require_field(self.rate >= 1, self, "rate", "1 Hz or more")
        require_field(self.trim_db >= 0, self, "trim_db", "0 (nothing) or more")
        require_field(self.cut_seconds >= 0, self, "cut_seconds", "0 (never cut) or more")
        require_field(self.channel >= 0, self, "channel", "0 (the mean of all), 1, 2, ...")
        require_field(self.shard_mb > 0, self, "shard_mb", "more than 0")


@dataclass
class Progress:
    """How far it is: recordings that are done, and what came of them."""

    recordings: int = 0
    clips: int = 0
    duplicates: int = 0
    skipped: int = 0
    shards: int = 0
    reasons: tuple[str, ...] = ()


REASONS = 20


def prepare_shards(
    clips: Sequence[Clip],
    out: Path,
    settings: Preparation,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Write recordings into `out` as tar files and a manifest, which is a data set.

    After every tar file the state is written, so that the same call goes on where it was
    interrupted. The result is a function of clips and settings alone. What memory grows by are the
    digests of the clips, some 100 bytes each.

    Where clips have no groups, and several come from one recording, it is written as their group.

    Args:
        clips: as `find_clips` gives them.
        out: a folder that is there.
        settings: what becomes of them.
        progress: called after every recording.

    Raises:
        DataError: `out` holds what other settings or recordings made, or nothing can be used.
    """
    if settings.cut_seconds or are_parts(clips):
        clips = grouped_by_recording(clips)
    listed = hashlib.sha256()
    for clip in clips:
        listed.update(f"{clip.name}\0{sorted(_known(clip).items())}\n".encode(errors="replace"))
    identity = {"settings": asdict(settings), "recordings": listed.hexdigest()}
    state, digests = _resume(out, identity)
    writer = ShardWriter(out, state.shards, settings.shard_mb)
    index = out / MANIFEST_NAME

    def save() -> None:
        append_rows(index, writer.close())
        state.shards = writer.number
        _write_state(out, identity, state)

    for clip, pieces in _decoded(clips[state.recordings :], settings):
        state.recordings += 1
        if isinstance(pieces, AudioError):
            state.skipped += 1
            state.reasons = (*state.reasons, str(pieces))[:REASONS]
        else:
            for piece in pieces:
                if settings.deduplicate and piece.digest in digests:
                    state.duplicates += 1
                    continue
                digests.add(piece.digest)
                writer.add(
                    f"{state.clips:09d}",
                    piece.content,
                    {
                        **_known(clip),
                        "prepared_rate": settings.rate,
                        "prepared_samples": piece.samples,
                        "digest": piece.digest.hex(),
                    },
                )
                state.clips += 1
        if writer.full:
            save()
        if progress is not None:
            progress(state)
    save()
    if not state.clips:
        first = f", first: {state.reasons[0]}" if state.reasons else ""
        raise DataError(f"none of the {len(clips)} recordings can be used{first}")
    return state


def _known(clip: Clip) -> dict[str, Any]:
    return {name: getattr(clip, name) for name in ("label", "split", "fold", "group")}


def _write_state(out: Path, identity: dict[str, Any], state: Progress) -> None:
    index = out / MANIFEST_NAME
    size = index.stat().st_size if index.exists() else 0
    content = {**identity, "state": asdict(state), "index_bytes": size}
    replace_file(out / STATE_NAME, json.dumps(content, indent=1) + "\n")


def _resume(out: Path, identity: dict[str, Any]) -> tuple[Progress, set[bytes]]:
    """Where an earlier call came to, and the digests so far.

    A shard that was under way is written again, and the index is cut to what belongs to the others.
    """
    path, index = out / STATE_NAME, out / MANIFEST_NAME
    if not path.exists():
        if any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise DataError(f"--out is {out}, which holds other files; {ACCEPTED}")
        _write_state(out, identity, Progress())
        return Progress(), set()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        state = Progress(**{**content["state"], "reasons": tuple(content["state"]["reasons"])})
        size = int(content["index_bytes"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is not what was written there; {ACCEPTED}") from None
    if {key: content.get(key) for key in identity} != identity:
        raise DataError(
            f"--out is {out}, which holds what other recordings or settings made; {ACCEPTED}"
        )
    written = [shard_name(number) for number in range(state.shards)]
    for name in [*written, MANIFEST_NAME] if size else written:
        if not (out / name).is_file():
            raise DataError(f"--out is {out}, where {name} was written and is missing; {ACCEPTED}")
    if not size:
        index.unlink(missing_ok=True)
        return state, set()
    if index.stat().st_size < size:
        raise DataError(f"{index} is shorter than what was written there; {ACCEPTED}")
    os.truncate(index, size)
    try:
        with open(index, newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if table.fieldnames != list(COLUMNS):
                raise ValueError(table.fieldnames)
            return state, {bytes.fromhex(row["digest"]) for row in table}
    except (ValueError, TypeError, csv.Error):
        raise DataError(f"{index} is not what was written there; {ACCEPTED}") from None


@dataclass(frozen=True)
class Piece:
    """A clip to be written: a FLAC file's content, its samples, and a digest of those."""

    content: bytes
    samples: int
    digest: bytes


def _decoded(
    clips: Sequence[Clip], settings: Preparation
) -> Iterator[tuple[Clip, list[Piece] | AudioError]]:
    """Clips with their pieces, in order; several are decoded at a time."""
    waiting: deque[Future[list[tuple[Clip, list[Piece] | AudioError]]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for _, of_recording in itertools.groupby(clips, lambda clip: clip.path):
                waiting.append(pool.submit(_recording, list(of_recording), settings))
                if len(waiting) > AHEAD:
                    yield from waiting.popleft().result()
            for future in waiting:
                yield from future.result()
        except BaseException:  # Ctrl-C must not wait for what was ahead
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _recording(
    clips: Sequence[Clip], settings: Preparation
) -> list[tuple[Clip, list[Piece] | AudioError]]:
    """Clips of one recording, which is decoded once, with their pieces."""
    try:
        samples = decode(clips[0].path, settings.rate, settings.channel)
    except AudioError as error:
        return [(clip, error) for clip in clips]
    return [(clip, _pieces(clip, samples, settings)) for clip in clips]


def _pieces(
    clip: Clip, samples: NDArray[np.float32], settings: Preparation
) -> list[Piece] | AudioError:
    end = None if clip.end is None else round(clip.end * settings.rate)
    samples = samples[round(clip.start * settings.rate) : end]
    if not samples.size:
        return AudioError(f"{clip.name}: the recording ends before it", "empty")
    try:
        require_sound(clip.name, samples)
    except AudioError as error:
        return error
    parts = _cut(_trimmed(samples, settings.trim_db), round(settings.cut_seconds * settings.rate))
    pieces = []
    for part in parts:
        try:
            require_sound(clip.name, part)
        except AudioError:
            continue  # a silent stretch of a recording
        integers = np.clip(np.rint(part * 32768), -32768, 32767).astype(np.int16)
        file = io.BytesIO()
        soundfile().write(file, integers, settings.rate, format="FLAC", subtype="PCM_16")
        digest = hashlib.blake2b(integers.tobytes(), digest_size=16).digest()
        pieces.append(Piece(file.getvalue(), len(part), digest))
    return pieces


def _trimmed(samples: NDArray[np.float32], below_db: float) -> NDArray[np.float32]:
    """Without what is so many decibels below the peak at both ends."""
    if not below_db:
        return samples
    level = np.abs(samples)
    heard = np.flatnonzero(level >= level.max() * 10 ** (-below_db / 20))
    return samples[heard[0] : heard[-1] + 1]


def _cut(samples: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    if not size or len(samples) <= size:
        return [samples]
    parts = [samples[i : i + size] for i in range(0, len(samples), size)]
    return parts if len(parts[-1]) >= SHORTEST_PIECE * size else parts[:-1]
