"""What the commands that make sound share: models, mel-spectrograms in files, WAVs, progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wavenet.commands.common import console, given, suggest, warn

if TYPE_CHECKING:
    from torch import Tensor

    from wavenet.data.mel import MelConfig
    from wavenet.generation.config import GeneratorConfig
    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow
    from wavenet.generation.waveglow_config import WaveGlowConfig

Speaker = Annotated[
    str | None, typer.Option(help="Who speaks: one of the model's speakers, by name or number.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random numbers: the same, the same sound.")]
Raw = Annotated[
    bool,
    typer.Option(
        "--raw", help="16-bit PCM, little-endian, on the standard output while it is made."
    ),
]
MEL_SUFFIXES = (".npy", ".pt")


def load_generator(run: Path, device: str) -> WaveNet | WaveGlow:
    """A model that makes sound.

    Raises:
        ModelError: it can't be loaded, or is none.
    """
    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.errors import ModelError
    from wavenet.loading import load_trained

    model = load_trained(run, device)
    if isinstance(model, WaveNetClassifier):
        raise ModelError(f"{run}: is a classifier; accepted is a model that makes sound")
    return model


def suggest_sound(
    run: Path, config: GeneratorConfig | WaveGlowConfig, heard: str | Path = "FILE_OR_FOLDER"
) -> None:
    """What to do next with a model that makes sound, but one whose speakers are vectors.

    `heard`: recordings or mel-spectrograms that sound could be made of.
    """
    if getattr(config, "speaker_features", 0):
        return
    options = given(speaker=next(iter(getattr(config, "speakers", ())), None), out="sounds")
    if getattr(config, "notes", None) is not None:
        suggest((["generate", run, "--notes", "TUNE.txt", *options], "a tune that it plays"))
    elif config.mel is None:
        suggest((["generate", run, *options], "sound that it makes up"))
    else:
        command = ["vocode", run, heard, *options]
        suggest((command, "sound made of mel-spectrograms, those of recordings too"))


def speaker_of(model: Any, speaker: str | None) -> Any:
    """What the model takes for a speaker.

    Raises:
        DataError: nobody of that name or number, or none where one is needed.
    """
    from wavenet.errors import DataError

    names = getattr(model.config, "speakers", ())
    if getattr(model.config, "speaker_features", 0):
        raise DataError("this model takes vectors for speakers; accepted is one of names, or none")
    if not names:
        if speaker is not None:
            raise DataError(f"--speaker is {speaker}; this model has no speakers")
        return None
    numbers = [str(number) for number in range(len(names))]
    if speaker in names:
        return speaker
    if speaker in numbers:
        return int(speaker)
    raise DataError(
        f"--speaker is {'missing' if speaker is None else speaker}; accepted are "
        f"{', '.join(names)}, or 0 to {len(names) - 1}"
    )


def files_of(inputs: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """Files as they were given, and those of folders, of these suffixes.

    Raises:
        DataError: one that is missing, a folder without any, or two of one name.
    """
    from wavenet.classifier.data.walk import files_in
    from wavenet.errors import DataError

    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = [
                file
                for file in files_in(path)
                if file.suffix.lower() in suffixes and file.is_file()
            ]
            if not inside:
                raise DataError(f"{path}: holds no file of {', '.join(suffixes)}")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"{path}: there is no such file")
    names: dict[str, Path] = {}
    for file in files:
        if names.setdefault(file.stem, file) != file:
            raise DataError(f"{file} and {names[file.stem]} have one name; accepted are different")
    return files


def read_mel(path: Path, config: MelConfig) -> Tensor:
    """(M, F) of a file: .npy (F, M), as `wavenet mel` writes it, or .pt (M, F), as WaveGlow's are.

    A JSON file beside it that describes it is compared with the model's description.

    Raises:
        DataError, ModelError: a file that can't be read, of another shape or description, or not
            finite.
    """
    import torch

    from wavenet.convert.torch_files import Inert, read_torch_file
    from wavenet.errors import DataError

    if path.suffix.lower() == ".npy":
        read = _read_npy(path)
        shape, accepted = tuple(read.shape), f"(F, {config.mels})"
        values = read.T if read.dim() == 2 else read
    else:
        read = read_torch_file(path)
        if not isinstance(read, torch.Tensor):
            came = "something else" if isinstance(read, Inert) else f"a {type(read).__name__}"
            raise DataError(f"{path}: holds {came}; accepted is a tensor")
        shape, accepted = tuple(read.shape), f"({config.mels}, F)"
        values = read[0] if read.dim() == 3 and len(read) == 1 else read
    if values.dim() != 2 or values.shape[0] != config.mels or values.shape[1] < 1:
        raise DataError(f"{path}: has shape {shape}; accepted is {accepted} with F from 1")
    values = values.float()
    if not torch.isfinite(values).all():
        raise DataError(f"{path}: holds values that aren't finite numbers")
    description = path.with_suffix(".json")
    if description.is_file():
        try:
            said = json.loads(description.read_text(encoding="utf-8"))
            config.check_same(said, str(path))
        except (ValueError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{description}: describes no mel-spectrogram: {error}") from None
    return values.contiguous()


def _read_npy(path: Path) -> Tensor:
    """An array of numbers; objects, which NumPy would have to run a pickle for, are none."""
    import numpy as np
    import torch

    from wavenet.errors import DataError

    try:
        with path.open("rb") as file:
            return torch.from_numpy(np.lib.format.read_array(file, allow_pickle=False))
    except OSError:
        raise
    except Exception:  # a damaged file makes its reader raise anything
        raise DataError(
            f"{path}: can't be read as a mel-spectrogram; accepted is an array of numbers, as "
            "numpy.save writes it"
        ) from None


def write_wav(path: Path, waveform: Tensor, sample_rate: int) -> None:
    """(T,) as 16-bit PCM at the model's rate; what is beyond full scale is cut."""
    from wavenet.audio.reading import wav_of
    from wavenet.files import replace_file

    content = wav_of(waveform.detach().cpu().float().clamp(-1, 1).numpy(), sample_rate, "PCM_16")
    replace_file(path, content)


class Making:
    """Sound on its way: a bar over its samples, PCM for a pipe, and how fast it was.

    Args:
        sample_rate: of the sound.
        total: samples of each signal; None: nobody knows.
        raw: chunks go to the standard output as PCM.
    """

    def __init__(self, sample_rate: int, total: int | None, raw: bool = False) -> None:
        self.sample_rate = sample_rate
        self.total = total
        self.raw = raw
        self.samples = 0
        self.seconds = 0.0

    def follow(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """The chunks (B, n) as they are made."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("making sound"), BarColumn(), TextColumn("{task.fields[speed]}"))
        hidden = self.raw or not console.is_terminal
        made = 0
        with Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden
        ) as bar:
            task = bar.add_task("", total=self.total, speed="")
            started = time.perf_counter()
            for chunk in chunks:
                self.seconds += time.perf_counter() - started
                self.samples += chunk.numel()
                made += chunk.shape[1]
                bar.update(task, completed=made, speed=self.speed())
                if self.raw:
                    _to_pipe(chunk[0])
                yield chunk
                started = time.perf_counter()

    def speed(self) -> str:
        """Samples a second, and how that compares with what is heard in a second."""
        rate = self.samples / max(self.seconds, 1e-9)
        return f"{rate:,.0f} samples/s, {rate / self.sample_rate:.2f} times real time"

    def say(self) -> None:
        """The same, after all, on the standard error."""
        made = f"{self.samples / self.sample_rate:.2f} s of sound in {self.seconds:.2f} s"
        warn(f"{made}: {self.speed()}")


def _to_pipe(samples: Tensor) -> None:
    whole = (samples.detach().cpu().clamp(-1, 1) * 32767).round().numpy().astype("<i2")
    sys.stdout.buffer.write(whole.tobytes())
    sys.stdout.buffer.flush()
