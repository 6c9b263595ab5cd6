"""Features that models are given beside the waveform."""

from wavenet.data.mel import MelConfig, mel_spectrogram
from wavenet.data.notes import Note, NoteConfig, note_frames

__all__ = ["MelConfig", "Note", "NoteConfig", "mel_spectrogram", "note_frames"]
