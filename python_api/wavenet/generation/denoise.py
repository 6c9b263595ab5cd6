"""Taking a vocoder's constant sound away: what it makes of silence is there in all that it makes.

Source: the denoiser of NVIDIA's waveglow: spectral subtraction with the original's phase.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from wavenet.data.mel import MelConfig
from wavenet.errors import DataError, is_number, plain, require_tensor

N_FFT = 1024
HOP = 256
FRAMES = 88  # that a vocoder is heard for


class _Config(Protocol):
    @property
    def mel(self) -> MelConfig: ...


class Vocoder(Protocol):
    """Any model that makes sound of a mel-spectrogram."""

    @property
    def config(self) -> _Config: ...

    def infer(self, mel: Tensor, *, sigma: float) -> Tensor:
        """(B, M, F) -> (B, T)."""


def constant_sound(model: Vocoder, n_fft: int = N_FFT, hop: int = HOP) -> Tensor:
    """The magnitudes of what a model makes of mels of zeros without noise: (n_fft / 2 + 1,).

    Of its first frame, as the original has it.
    """
    parameter = next(model.parameters()) if isinstance(model, torch.nn.Module) else torch.zeros(())
    silence = parameter.new_zeros(1, model.config.mel.mels, FRAMES).detach()
    spectrum = _stft(model.infer(silence, sigma=0.0), n_fft, hop)
    return spectrum[0, :, 0].abs()


def denoise(waveform: Tensor, sound: Tensor, strength: float = 0.1, *, hop: int = HOP) -> Tensor:
    """A waveform without a constant sound.

    Args:
        waveform: (B, T), T more than half of the transform's length.
        sound: (n_fft / 2 + 1,) magnitudes; see `constant_sound`.
        strength: times the sound is subtracted; 0.1 to start with.
        hop: samples between frames.

    Returns:
        (B, T).

    Raises:
        DataError: an argument that doesn't fit.
    """
    require_tensor("waveform", waveform, "(B, T)")
    require_tensor("sound", sound, "(n_fft / 2 + 1,)")
    if sound.dim() != 1 or len(sound) < 2:
        raise DataError(f"sound has shape {tuple(sound.shape)}; accepted is (n_fft / 2 + 1,)")
    n_fft = 2 * (len(sound) - 1)
    if waveform.dim() != 2:
        raise DataError(f"waveform has shape {tuple(waveform.shape)}; accepted is (B, T)")
    strength = plain(strength)
    require_strength(strength, waveform.shape[1], n_fft)
    spectrum = _stft(waveform, n_fft, hop)
    magnitude = spectrum.abs()
    quieter = (magnitude - strength * sound.to(magnitude)[:, None]).clamp_min(0)
    # The phase is kept: a factor between 0 and 1 for each bin.
    spectrum = spectrum * (quieter / magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny))
    window = torch.hann_window(n_fft, dtype=waveform.dtype, device=waveform.device)
    return torch.istft(spectrum, n_fft, hop, window=window, length=waveform.shape[1])


def require_strength(strength: float, samples: int, n_fft: int = N_FFT) -> None:
    """Raise DataError for what is no strength, or for too few samples to be denoised."""
    if not (is_number(strength) and strength >= 0):
        raise DataError(f"denoise is {strength!r}; accepted is 0 or more")
    if samples <= n_fft // 2:
        raise DataError(
            f"denoise is given for {samples} samples; accepted are more than {n_fft // 2}"
        )


def _stft(waveform: Tensor, n_fft: int, hop: int) -> Tensor:
    window = torch.hann_window(n_fft, dtype=waveform.dtype, device=waveform.device)
    return torch.stft(
        waveform, n_fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True
    )
