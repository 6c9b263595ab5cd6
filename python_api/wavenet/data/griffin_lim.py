"""Sound that fits mel-spectrograms, by going to spectra and back: of frames alone, which is the
baseline of vocoders, or of what a vocoder made of them.

Source: D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform", IEEE
TASSP 32(2), 1984.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wavenet.data.mel import MelConfig, mel_filterbank, mel_magnitudes
from wavenet.errors import DataError, is_whole, require_floats, require_tensor

# How much a bin's level is the sound's own, in `refine`: bands of several bins don't tell where
# between them a harmonic is, and the sound does; but what it has there by chance should not stay.
OWN = 0.85
QUIET = 1e-9  # a magnitude whose logarithm is taken for that of nothing
MOST = 1e3  # that a level is changed by at once


class _Spectra:
    """Sound (B, T) to spectra (B, n_fft / 2 + 1, F) and back, by a description, in float64."""

    def __init__(self, config: MelConfig) -> None:
        if config.padding != "reflect":
            raise DataError(f"padding is {config.padding!r}; accepted is 'reflect'")
        self.config = config
        self.window = torch.hann_window(config.window, dtype=torch.float64)
        self.bank = mel_filterbank(
            config.sample_rate, config.n_fft, config.mels, config.low_hz, config.high_hz
        )

    def magnitudes_of(self, bands: Tensor) -> Tensor:
        """The magnitudes of least squares whose bands these (B, M, F) are, none below 0."""
        return (torch.linalg.pinv(self.bank) @ bands).clamp_min(0.0)

    def of(self, sound: Tensor) -> Tensor:
        config = self.config
        return torch.stft(
            sound,
            config.n_fft,
            config.hop,
            config.window,
            self.window,
            return_complex=True,
        )

    def sound(self, magnitudes: Tensor, angles: Tensor, length: int | None = None) -> Tensor:
        config = self.config
        spectrum = torch.polar(magnitudes, angles)
        return torch.istft(
            spectrum, config.n_fft, config.hop, config.window, self.window, length=length
        )


def griffin_lim(mel: Tensor, config: MelConfig, iterations: int = 60, seed: int = 0) -> Tensor:
    """Phases that fit the magnitudes, starting from random ones.

    Args:
        mel: (B, M, F) of a description whose frames are centred.
        config: the description.
        iterations: of going to sound and back.
        seed: of the first phases.

    Returns:
        (B, (F - 1) hop), float32.

    Raises:
        DataError: a description whose frames are not centred.
    """
    spectra = _Spectra(config)
    magnitudes = spectra.magnitudes_of(mel_magnitudes(mel.double(), config))
    random = torch.rand(magnitudes.shape, generator=torch.Generator().manual_seed(seed))
    sound = spectra.sound(magnitudes, (2 * torch.pi * random).double())
    for _ in range(iterations):
        sound = spectra.sound(magnitudes, spectra.of(sound).angle())
    return sound.float()


def refine(sound: Tensor, mel: Tensor, config: MelConfig, iterations: int = 60) -> Tensor:
    """A vocoder's sound, brought nearer to the frames that it was made of.

    Phases and what is finer than the mel's bands stay the sound's own as far as they agree with
    one another; levels become the mel's. In each iteration a bin's magnitude is scaled by what is
    missing in its bands, as in factorisations of non-negative matrices (D. Lee and S. Seung, 2001),
    drawn a little towards those of least squares, and sound is made of both. Needs all of the
    sound at once; frequencies beyond the bands vanish.

    Args:
        sound: (B, T) at config.sample_rate; frame f of mel is centred on its sample f hop.
        mel: (B, M, F) of a description whose frames are centred. After its last frame levels stay.
        config: the description.
        iterations: from 0, which changes nothing.

    Returns:
        (B, T), float32, on the CPU.

    Raises:
        DataError: a description whose frames are not centred; sound or mel of another shape or with
            values that aren't finite, sound no longer than half a frame's transform, or iterations
            that are no such number.
    """
    spectra = _Spectra(config)
    require_tensor("sound", sound, "(B, T)")
    if sound.dim() != 2 or sound.shape[1] <= config.n_fft // 2:
        raise DataError(
            f"sound has shape {tuple(sound.shape)}; accepted is (B, T) with T from "
            f"{config.n_fft // 2 + 1}"
        )
    require_tensor("mel", mel, "(B, M, F)")
    if mel.dim() != 3 or mel.shape[:2] != (len(sound), config.mels) or mel.shape[2] == 0:
        accepted = f"({len(sound)}, {config.mels}, F) with F from 1"
        raise DataError(f"mel has shape {tuple(mel.shape)}; accepted is {accepted}")
    require_floats("sound", sound)
    require_floats("mel", mel)
    if not is_whole(iterations, 0):
        raise DataError(f"iterations is {iterations!r}; accepted is an int from 0")
    made, time = sound.double().cpu(), sound.shape[1]
    frames = min(mel.shape[2], 1 + time // config.hop)
    bands = mel_magnitudes(mel[:, :, :frames].double().cpu(), config)
    least_squares = spectra.magnitudes_of(bands).clamp_min(QUIET).log()
    shares = spectra.bank / spectra.bank.sum(0).clamp_min(QUIET)
    for _ in range(iterations):
        spectrum = spectra.of(made)
        magnitudes = spectrum.abs()
        own = magnitudes[:, :, :frames]
        missing = bands / (spectra.bank @ own).clamp_min(QUIET)
        own = own * (shares.T @ missing.clamp(1 / MOST, MOST))
        levels = OWN * own.clamp_min(QUIET).log() + (1 - OWN) * least_squares
        magnitudes = torch.cat((levels.exp(), magnitudes[:, :, frames:]), dim=2)
        made = spectra.sound(magnitudes, spectrum.angle(), time)
    return made.float()
