"""A part of the local web page: a model that makes sound is asked for some, and heard."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wavenet.audio.reading import read_audio
from wavenet.classifier.data.events import parse_label_track
from wavenet.data.notes import NoteConfig, notes_of
from wavenet.errors import DataError
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.model import WaveNet
from wavenet.generation.recordings import frames_of
from wavenet.generation.waveglow import WaveGlow

# What is made at a time, at most: nobody waits for more.
LONGEST = 10.0
SIGMA = 0.6

# Sound as gradio plays it: samples a second, and 16-bit samples (T,).
Sound = tuple[int, NDArray[np.int16]]


def speak(
    model: WaveNet | WaveGlow,
    *,
    speaker: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    seconds: float = 2.0,
    recording: Path | None = None,
    tune: str = "",
) -> Sound:
    """New sound, of what this model makes sound of.

    Args:
        model: any that makes sound.
        speaker: one of the model's, if it has some.
        seed: of the random numbers.
        temperature: of a WaveNet; of a WaveGlow it is sigma.
        seconds: how long, of a model that needs nothing else.
        recording: what is made anew, up to `LONGEST` seconds, where mel-spectrograms are heard.
        tune: what is played, where notes are: a line for each, begin, end and pitch.

    Raises:
        DataError: a recording or tune that is missing or no such thing.
        ValueError: another argument that doesn't fit.
        FloatingPointError: parameters that are not finite.
    """
    config = model.config
    rate, most = config.sample_rate, round(LONGEST * config.sample_rate)
    frames = None
    if config.mel is not None:
        if recording is None:
            raise DataError("there is no recording; drop one, or record one")
        frames = frames_of(read_audio(recording, rate)[:most], config)[None]
    samples = min(most, max(1, round(seconds * rate)))
    if isinstance(config, GeneratorConfig) and config.notes is not None:
        # On a page the tab key leaves the field.
        track = "\n".join("\t".join(line.split()) for line in tune.splitlines())
        notes = notes_of(parse_label_track(track, "tune"), config.notes, "tune")
        if not notes:
            raise DataError("the tune holds no note")
        samples = min(most, max(1, round(max(note.offset for note in notes) * rate)))
        frames = frames_of(torch.zeros(samples), config, notes=notes)[None]
    if frames is not None:
        frames = frames.to(next(model.parameters()).device)
    if isinstance(model, WaveGlow):
        assert frames is not None
        made: Any = model.infer(frames, sigma=temperature, seed=seed)
    else:
        length = None if frames is not None else samples
        made = model.generate(
            frames, speaker=speaker, samples=length, seed=seed, temperature=temperature
        )
    sound = made[0].detach().cpu().float().clamp(-1, 1)
    if config.mel is None:
        sound = sound[:samples]
    return rate, (sound * 32767).round().short().numpy()


def add_speaking(gradio: Any, model: WaveNet | WaveGlow) -> None:
    """The controls that this model has a use for, on the page or tab that is being built."""
    config, flow = model.config, isinstance(model, WaveGlow)
    speakers = config.speakers if isinstance(config, GeneratorConfig) else ()
    notes = config.notes if isinstance(config, GeneratorConfig) else None
    of = "recordings, made anew," if config.mel is not None else "a tune" if notes else "sound"
    named = f" by {html.escape(', '.join(speakers[:12]))}" if speakers else ""
    if config.mel is not None:
        how = "Drop a recording here, or record one: the model makes its mel-spectrogram sound anew"
    elif notes:
        how = "Write a tune, or take the one that is there: the model plays it"
    else:
        how = "The model makes sound like what it was trained on"
    gradio.HTML(
        f"<h2>{of.capitalize()}{named} at {config.sample_rate} Hz</h2>"
        f"<p>{how}. The same seed makes the same sound; it is made on this machine.</p>"
    )
    # What isn't shown says nothing: its value is that of `speak`.
    with gradio.Row():
        recording = gradio.Audio(
            sources=["upload", "microphone"],
            type="filepath",
            label="Recording",
            visible=config.mel is not None,
        )
        tune = gradio.Textbox(
            _scale(notes) if notes else "",
            lines=8,
            label="Begin and end in seconds, and pitch; a line for each note",
            visible=notes is not None,
        )
        sound = gradio.Audio(label="Sound", interactive=False, autoplay=True)
    with gradio.Row():
        speaker = gradio.Dropdown(
            list(speakers),
            value=next(iter(speakers), None),
            label="Speaker",
            visible=bool(speakers),
        )
        seed = gradio.Number(0, precision=0, minimum=0, label="Seed")
        temperature = gradio.Slider(
            *((0.0, 1.5, SIGMA) if flow else (0.05, 1.5, 1.0)),
            step=0.05,
            label="Sigma" if flow else "Temperature",
        )
        seconds = gradio.Slider(
            0.1, LONGEST, 2.0, step=0.1, label="Seconds", visible=not (notes or config.mel)
        )
    button = gradio.Button("Make sound", variant="primary")

    def make(
        who: str | None,
        number: int | None,
        degree: float,
        length: float,
        path: str | None,
        lines: str,
    ) -> Sound:
        try:
            return speak(
                model,
                speaker=who,
                seed=number or 0,
                temperature=degree,
                seconds=length,
                recording=None if path is None else Path(path),
                tune=lines,
            )
        except (ValueError, FloatingPointError) as error:
            # The page knows the recording by a path of its own making.
            said = str(error) if path is None else str(error).replace(path, Path(path).name)
            raise gradio.Error(said) from None

    button.click(make, [speaker, seed, temperature, seconds, recording, tune], sound)


def _scale(notes: NoteConfig) -> str:
    """The tune that stands there at first: up from the lowest pitch, step by step."""
    pitches = range(notes.lowest, notes.highest + 1, 2)
    return "\n".join(
        f"{place / 4:g} {(place + 1) / 4:g} {pitch}" for place, pitch in enumerate(pitches[:8])
    )
