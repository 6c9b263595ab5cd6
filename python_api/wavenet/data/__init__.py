"""Features of recordings that models are given beside the waveform."""

from wavenet.data.mel import MelConfig, mel_spectrogram

__all__ = ["MelConfig", "mel_spectrogram"]
