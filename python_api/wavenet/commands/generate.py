"""`wavenet generate`: new sound from a trained WaveNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavenet.commands.common import Device, Run, given, nobody_reads, require_folder, say, suggest
from wavenet.commands.sounds import (
    Making,
    Raw,
    Seed,
    Speaker,
    load_generator,
    speaker_of,
    write_wav,
)

if TYPE_CHECKING:
    from torch import Tensor

    from wavenet.data.notes import Note
    from wavenet.generation.model import WaveNet

CHUNK = 256
SECONDS = 3.0


def generate(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="Folder for the WAV files.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="How long; 3 by default, or as long as the notes; with --raw 0 is without end.",
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            help="What is played: a text file of begin, end (seconds) and pitch (60 or C4) between "
            "tabs, a line each."
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many sounds, made side by side.")] = 1,
    speaker: Speaker = None,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(help="1: as it was learned; less is cleaner and duller.")
    ] = 1.0,
    raw: Raw = False,
    device: Device = "cpu",
) -> None:
    """New sound, drawn sample by sample, as WAV files at the model's rate.

    A model that is conditioned on mel-spectrograms makes sound of them: wavenet vocode.

    Example: wavenet generate runs/voices --speaker george --seconds 3 --count 4 --seed 7 --out out/

    Or to be heard at once: wavenet generate runs/voices --speaker theo --seconds 0 --raw |
    aplay -q -f S16_LE -r 8000

    A model of notes plays them: wavenet generate runs/melodies --speaker flute --notes tune.txt
    --out out/
    """
    import torch

    from wavenet.errors import DataError
    from wavenet.generation.distributions import check_temperature
    from wavenet.generation.model import WaveNet
    from wavenet.generation.recordings import frames_of

    model = load_generator(run, device)
    if not isinstance(model, WaveNet) or model.config.mel is not None:
        raise DataError(
            f"{run}: makes sound of mel-spectrograms; accepted here is a model without, and "
            "wavenet vocode takes this one"
        )
    who = speaker_of(model, speaker)
    try:
        check_temperature(temperature)
    except ValueError as error:
        raise DataError(f"--temperature: {error}") from None
    if raw and (count != 1 or out is not None):
        raise DataError(
            "--raw writes one sound to the standard output; accepted is no --count, no --out"
        )
    if not raw and out is None:
        raise DataError("--out is missing; accepted are a folder, and --raw")
    rate = model.config.sample_rate
    played = _notes(model, notes)
    if seconds is None:
        seconds = max((note.offset for note in played), default=SECONDS)
    total = round(seconds * rate)
    if total == 0 and (notes is not None or not (raw and seconds == 0)):
        raise DataError(f"--seconds is {seconds:g}; accepted is a sample or more ({1 / rate:g} s)")
    if out is not None:
        require_folder(out)
    frames = None
    if notes is not None:
        tune = frames_of(torch.zeros(total), model.config, notes=played)
        frames = iter([tune.expand(count, -1, -1)])
    chunks = model.stream(
        frames, speaker=who, count=count, seed=seed, temperature=temperature, chunk=CHUNK
    )
    making = Making(rate, total or None, raw)
    made, length = [], 0
    try:
        for chunk in making.follow(_first(chunks, total)):
            length += chunk.shape[1]
            if not raw:
                made.append(chunk)
    except KeyboardInterrupt:
        if not raw:
            raise
    except BrokenPipeError:
        nobody_reads()
    making.say()
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    named = "" if speaker is None else f"{speaker}-"
    for number, sound in enumerate(torch.cat(made, dim=1)):
        path = out / f"{named}{seed}-{number}.wav"
        write_wav(path, sound, rate)
        say(str(path))
    asked = given(speaker=speaker, notes=notes, seconds=seconds, count=count if count > 1 else None)
    asked += given(seed=seed, temperature=0.8, out=out / "less-daring")
    suggest((["generate", run, *asked], "the same, less daring; another --seed is another sound"))


def _notes(model: WaveNet, path: Path | None) -> tuple[Note, ...]:
    """What is played; nothing by a model that is not conditioned on notes.

    Raises:
        DataError: a file of no notes of the model, or none where one is needed.
    """
    from wavenet.classifier.data.events import read_label_track
    from wavenet.data.notes import notes_of
    from wavenet.errors import DataError

    config = model.config.notes
    if config is None and path is not None:
        raise DataError(f"--notes is {path}; this model is not conditioned on notes")
    if config is None or path is None:
        if config is not None:
            raise DataError("--notes is missing; this model plays notes")
        return ()
    notes = notes_of(read_label_track(path), config, str(path))
    if not notes:
        raise DataError(f"{path}: holds no note")
    return notes


def _first(chunks: Iterator[Tensor], total: int) -> Iterator[Tensor]:
    """The chunks of the first `total` samples; all of them for 0."""
    left = total
    for chunk in chunks:
        if total and chunk.shape[1] >= left:
            yield chunk[:, :left]
            return
        left -= chunk.shape[1]
        yield chunk
