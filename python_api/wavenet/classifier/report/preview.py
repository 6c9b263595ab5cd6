"""What training does to clips, as WAV files and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wavenet.audio.reading import wav_of
from wavenet.classifier.data import (
    Augmenter,
    Augmenting,
    Clip,
    ClipDataset,
    Draw,
    TrainingClips,
    collate_draws,
    prepare_data,
)
from wavenet.classifier.run_config import RunConfig
from wavenet.errors import ConfigError
from wavenet.files import replace_file
from wavenet.pictures import new_figure, png_of


def preview_augmentation(config: RunConfig, out: Path, clips: int, versions: int) -> Path:
    """Write clips as they are and as the first epochs of a run hear them; the picture's path.

    Args:
        config: of the run.
        out: receives 1-label-original.wav, 1-label-epoch1.wav, ... and preview.png.
        clips: how many, spread over the training part.
        versions: epochs of each.

    Raises:
        ConfigError: more clips than the training part has.
        DataError: no usable data.
    """
    model = config.architecture
    seed = config.training.seed
    data = prepare_data(config.data, model.sample_rate, model.receptive_field, seed)
    train = data.splits.train
    if clips > len(train):
        raise ConfigError(f"--clips is {clips}; the training part has {len(train)}")
    dataset = ClipDataset(
        train,
        data.labels,
        data.cache,
        training=True,
        max_samples=config.data.max_samples(model.sample_rate),
        seed=seed,
    )
    drawn = TrainingClips(dataset, config.augmentation)
    augmenter = Augmenter(config.augmentation, data.cache)
    augmenting = Augmenting(augmenter, len(data.labels), torch.device("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, index in enumerate(np.linspace(0, len(train) - 1, clips).astype(int).tolist(), 1):
        clip = train[index]
        row = [(f"{clip.label}: original", np.array(data.cache.open_clip(clip)))]
        for epoch in range(versions):
            batch = augmenting(collate_draws([drawn[Draw(index, epoch)]]))
            row.append((_title(clip, epoch, data.labels, batch.targets), batch.waveform[0].numpy()))
        for name, (_, samples) in zip(_names(versions), row, strict=True):
            label = "".join(c if c.isalnum() else "_" for c in clip.label)
            # Floats, because gain and noise may go beyond full scale.
            wav = wav_of(samples, model.sample_rate, "FLOAT")
            replace_file(out / f"{number}-{label}-{name}.wav", wav)
        rows.append(row)
    replace_file(out / "preview.png", _picture(rows, model.sample_rate))
    return out / "preview.png"


def _names(versions: int) -> list[str]:
    return ["original", *(f"epoch{i + 1}" for i in range(versions))]


def _title(clip: Clip, epoch: int, labels: Sequence[str], targets: torch.Tensor | None) -> str:
    if targets is None or targets[0].max() == 1:
        return f"{clip.label}: epoch {epoch + 1}"
    shares = zip(labels, targets[0].tolist(), strict=True)
    return " + ".join(f"{share:.0%} {label}" for label, share in shares if share)


def _picture(rows: list[list[tuple[str, NDArray[np.float32]]]], sample_rate: int) -> bytes:
    """A row for each clip: waveform above spectrogram, original first, the same axes in a row."""
    columns = len(rows[0])
    figure = new_figure(3.2 * columns, 3 * len(rows))
    axes = figure.subplots(2 * len(rows), columns, squeeze=False)
    for upper, lower, row in zip(axes[::2], axes[1::2], rows, strict=True):
        seconds = max(len(samples) for _, samples in row) / sample_rate
        peak = max(float(np.abs(samples).max()) for _, samples in row) or 1.0
        for wave, spectrum, (title, samples) in zip(upper, lower, row, strict=True):
            wave.plot(np.arange(len(samples)) / sample_rate, samples, linewidth=0.4)
            wave.set(xlim=(0, seconds), ylim=(-peak, peak), xticks=[])
            wave.set_title(title, fontsize="small").set_parse_math(False)
            # 16 ms windows; a clip shorter than one is padded. Levels from -120 dB.
            window = max(16, round(0.016 * sample_rate))
            padded = np.pad(samples, (0, max(0, window - len(samples))))
            with np.errstate(divide="ignore"):  # silence is as dark as what is almost silent
                spectrum.specgram(
                    padded,
                    NFFT=window,
                    Fs=sample_rate,
                    noverlap=window // 2,
                    vmin=-120,
                    vmax=-30,
                )
            spectrum.set_facecolor(spectrum.images[0].cmap(0.0))
            spectrum.set(xlim=(0, seconds), ylim=(0, sample_rate / 2))
        lower[0].set(xlabel="s", ylabel="Hz")
    return png_of(figure, dpi=100)
