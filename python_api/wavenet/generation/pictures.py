"""A waveform and its spectrogram as a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from wavenet.pictures import new_figure, png_of

N_FFT, HOP, FLOOR_DB = 512, 64, -80.0


def picture_of(waveform: Tensor, sample_rate: int, title: str) -> bytes:
    """Of (T,), as PNG: amplitude, and decibels below the loudest by time and frequency."""
    wave = waveform.detach().float().cpu()
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(
        wave, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True
    ).abs()
    decibels = 20 * (spectrum / spectrum.max().clamp_min(1e-9)).clamp_min(1e-9).log10()
    seconds = len(wave) / sample_rate
    figure = new_figure(9, 5)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot((torch.arange(len(wave)) / sample_rate).numpy(), wave.numpy(), linewidth=0.5)
    above.set(ylabel="amplitude", ylim=(-1, 1))
    above.set_title(title, parse_math=False)
    extent = (0.0, seconds, 0.0, sample_rate / 2000)
    below.imshow(
        decibels.numpy(),
        **{"origin": "lower", "aspect": "auto", "extent": extent},
        **{"vmin": FLOOR_DB, "vmax": 0, "cmap": "magma"},
    )
    below.set(xlabel="seconds", ylabel="kHz", xlim=(0, seconds))
    return png_of(figure)
