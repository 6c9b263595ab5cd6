"""`wavenet vocode`: sound of mel-spectrograms, or of recordings' own (copy synthesis)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from wavenet.commands.common import Device, Run, given, nobody_reads, require_folder, say, suggest
from wavenet.commands.sounds import (
    MEL_SUFFIXES,
    Making,
    Raw,
    Seed,
    Speaker,
    files_of,
    load_generator,
    read_mel,
    speaker_of,
    write_wav,
)

if TYPE_CHECKING:
    from torch import Tensor

    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow

SIGMA = 0.6
FRAMES = 8  # that a WaveNet is given at a time


class Asked(NamedTuple):
    """A file, its frames (M, F), and the recording (T,) that they are of, if any."""

    path: Path
    mel: Tensor
    recording: Tensor | None

    @property
    def name(self) -> str:
        """What it is called in what is printed and written."""
        return self.path.stem

    @property
    def files(self) -> list[str]:
        """What is written of it."""
        return [f"{self.name}.wav", *([] if self.recording is None else [f"{self.name}_ref.wav"])]


def vocode(
    run: Run,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings, mel-spectrograms (.npy of (F, M), .pt of (M, F)), folders of them."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the WAV files.")] = None,
    speaker: Speaker = None,
    seed: Seed = 0,
    temperature: Annotated[
        float | None, typer.Option(help="Of a WaveNet; 1 as it was learned, less is duller.")
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(help=f"Of a WaveGlow, of its noise, {SIGMA} by default; less is duller."),
    ] = None,
    denoise: Annotated[
        float | None,
        typer.Option(help="Of a WaveGlow: so much of its constant sound is taken away, say 0.1."),
    ] = None,
    refine: Annotated[
        int,
        typer.Option(
            help="Iterations that bring the finished sound nearer to its frames, say 60; for "
            "networks that were trained little.",
            min=0,
        ),
    ] = 0,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Of recordings: print log-spectral distance and mel-cepstral distortion, and PESQ "
            "and STOI where the packages pesq and pystoi are installed.",
        ),
    ] = False,
    raw: Raw = False,
    device: Device = "cpu",
) -> None:
    """Sound of mel-spectrograms by a vocoder; of recordings, by their own: copy synthesis.

    Beside NAME.wav of a recording lies NAME_ref.wav, the recording at the model's rate, after its
    high-pass if it has one.

    Example: wavenet vocode runs/vocoder recordings/ --out out/ --compare

    Or: wavenet vocode runs/glow mels/ --sigma 0.6 --denoise 0.1 --out out/
    """
    import torch

    from wavenet.data.griffin_lim import refine as refined
    from wavenet.errors import DataError
    from wavenet.generation.comparing import compare as compare_sounds
    from wavenet.generation.denoise import N_FFT, constant_sound
    from wavenet.generation.denoise import denoise as without
    from wavenet.generation.distributions import check_temperature
    from wavenet.generation.waveglow import WaveGlow

    model = load_generator(run, device)
    if model.config.mel is None:
        raise DataError(
            f"{run}: makes sound of nothing, or of notes; accepted here is a model that makes it "
            "of mel-spectrograms, and wavenet generate takes this one"
        )
    flow = isinstance(model, WaveGlow)
    for name, value, of in (
        ("--sigma", sigma, True),
        ("--denoise", denoise, True),
        ("--temperature", temperature, False),
    ):
        if value is not None and flow != of:
            kinds = ("WaveGlow", "WaveNet") if of else ("WaveNet", "WaveGlow")
            raise DataError(f"{name} is given; it is of a {kinds[0]}, and this is a {kinds[1]}")
        if value is not None and not 0 <= value < float("inf"):
            raise DataError(f"{name} is {value}; accepted is 0 or more")
    if temperature is not None:
        try:
            check_temperature(temperature)
        except ValueError as error:
            raise DataError(f"--temperature: {error}") from None
    who = speaker_of(model, speaker)
    if raw and (out is not None or compare or denoise or refine):
        raise DataError(
            "--raw is given; accepted with it is no --out, --compare, --denoise or --refine"
        )
    if not raw and out is None and not compare:
        raise DataError("--out is missing; accepted are a folder, --compare and --raw")
    if out is not None:
        require_folder(out)
    asked = _read(model, inputs)
    if out is not None:
        _require_apart(out, asked)
    if raw and len(asked) != 1:
        raise DataError(f"--raw is given with {len(asked)} files; accepted is one")
    if denoise:
        _require_long(model, asked, "--denoise", N_FFT // 2)
    if refine:
        if model.config.mel.padding != "reflect":
            raise DataError(
                f"--refine is given; accepted is a model whose mel's frames are centred, padding "
                f"'reflect', and {run} has {model.config.mel.padding!r}"
            )
        _require_long(model, asked, "--refine", model.config.mel.n_fft // 2)
    if compare and any(one.recording is None for one in asked):
        raise DataError("--compare is given with mel-spectrograms; accepted are recordings")

    rate = model.config.sample_rate
    constant = constant_sound(model) if denoise and isinstance(model, WaveGlow) else None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    making = Making(rate, None, raw)
    sums: dict[str, list[float]] = {}
    for one in asked:
        making.total = one.mel.shape[1] * model.config.hop
        chunks = _chunks(model, one.mel, who, seed, temperature, SIGMA if sigma is None else sigma)
        try:
            made = list(making.follow(chunks))
        except BrokenPipeError:
            nobody_reads()
            return
        sound = torch.cat(made, dim=1)
        if constant is not None and denoise is not None:
            sound = without(sound, constant, denoise)
        if refine:
            sound = refined(sound, one.mel[None], model.config.mel, refine)
        if out is not None:
            write_wav(out / f"{one.name}.wav", sound[0], rate)
            if one.recording is not None:
                write_wav(out / f"{one.name}_ref.wav", one.recording, rate)
        if compare and one.recording is not None:
            figures = compare_sounds(sound[0], one.recording, rate)
            say(f"{one.name}: {_figures(figures)}")
            for name, value in figures.items():
                sums.setdefault(name, []).append(value)
    making.say()
    if out is not None:
        say(f"{len(asked)} sound(s) are in {out}")
    if len(asked) > 1 and compare:
        means = {name: sum(values) / len(values) for name, values in sums.items()}
        say(f"mean of {len(asked)}: {_figures(means)}")
    if raw or (out is not None and compare):
        return
    command = ["vocode", run, *inputs, *given(speaker=speaker, seed=seed, temperature=temperature)]
    command += given(sigma=sigma, denoise=denoise, refine=refine or None)
    if out is None:
        suggest(([*command, "--out", "sounds"], "the sounds, to be heard"))
    elif all(one.recording is not None for one in asked):
        suggest(([*command, "--out", out, "--compare"], "how near they come to the recordings"))


def _read(model: WaveNet | WaveGlow, inputs: list[Path]) -> list[Asked]:
    """All of them, before anything is made."""
    from wavenet.audio.filters import high_pass
    from wavenet.audio.opening import audio_suffixes
    from wavenet.audio.reading import read_audio
    from wavenet.generation.recordings import frames_of

    config = model.config
    assert config.mel is not None
    asked = []
    for path in files_of(inputs, (*MEL_SUFFIXES, *sorted(audio_suffixes()))):
        if path.suffix.lower() in MEL_SUFFIXES:
            asked.append(Asked(path, read_mel(path, config.mel), None))
            continue
        recording = read_audio(path, config.sample_rate)
        mel = frames_of(recording, config)
        cutoff = getattr(config, "high_pass_hz", 0.0)
        if cutoff:
            recording = high_pass(recording[None], cutoff, config.sample_rate)[0]
        asked.append(Asked(path, mel, recording))
    return asked


def _require_long(model: WaveNet | WaveGlow, asked: list[Asked], option: str, samples: int) -> None:
    """Raise DataError where a sound has no more than these samples, too few for an option."""
    from wavenet.errors import DataError

    for one in asked:
        made = one.mel.shape[1] * model.config.hop
        if made <= samples:
            raise DataError(
                f"{one.path}: makes {made} samples; accepted with {option} are more than {samples}"
            )


def _require_apart(out: Path, asked: list[Asked]) -> None:
    """Raise DataError where a recording, or another sound, would be written over."""
    from wavenet.errors import DataError

    read, written = {one.path.resolve() for one in asked}, set[str]()
    for name in (name for one in asked for name in one.files):
        if (out / name).resolve() in read:
            raise DataError(
                f"--out is {out}, where {name} is a recording that is asked for; accepted is "
                "another folder"
            )
        if name in written:
            raise DataError(f"{name} would be written twice, of two files; give one at a time")
        written.add(name)


def _chunks(
    model: WaveNet | WaveGlow,
    mel: Tensor,
    speaker: str | int | None,
    seed: int,
    temperature: float | None,
    sigma: float,
) -> Iterator[Tensor]:
    from wavenet.generation.waveglow import WaveGlow

    frames = mel[None].to(next(model.parameters()).device).split(FRAMES, dim=2)
    if isinstance(model, WaveGlow):
        return model.stream(frames, sigma=sigma, seed=seed)
    degree = 1.0 if temperature is None else temperature
    return model.stream(frames, speaker=speaker, seed=seed, temperature=degree)


def _figures(figures: dict[str, float]) -> str:
    units = {
        "log_spectral_distance_db": ("log-spectral distance", " dB"),
        "mel_cepstral_distortion_db": ("mel-cepstral distortion", " dB"),
        "pesq": ("PESQ", ""),
        "stoi": ("STOI", ""),
    }
    return ", ".join(
        f"{units[name][0]} {value:.3f}{units[name][1]}" for name, value in figures.items()
    )
