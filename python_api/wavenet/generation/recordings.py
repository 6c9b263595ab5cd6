"""What a recording is made into before a generative model hears it, whole or a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet.audio.filters import TAPS, high_pass, pre_emphasize
from wavenet.data.mel import mel_spectrogram
from wavenet.data.notes import Note, note_frames
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.waveglow_config import WaveGlowConfig

Config = GeneratorConfig | WaveGlowConfig


class Heard(NamedTuple):
    """A part of a recording: samples (T,), and frames (M, T / hop + 2 context_frames) or None."""

    waveform: Tensor
    mel: Tensor | None


def context_of(config: Config) -> int:
    """Frames at either side of a part that its mel has."""
    return config.context_frames if isinstance(config, GeneratorConfig) else 0


def channels_of(config: Config) -> int:
    """Rows of the frames that the model is conditioned on; 0 without."""
    return config.frame_channels if isinstance(config, GeneratorConfig) else config.mel.mels


def hear(
    waveform: Tensor,
    config: Config,
    first: int = 0,
    samples: int | None = None,
    notes: Sequence[Note] = (),
) -> Heard:
    """A part of a recording as the model is to hear it.

    The mel-spectrogram is that of the recording without what the high-pass takes; gain and
    pre-emphasis come after it, as in wavenet_vocoder. The part's samples and frames are those of
    the whole recording, however little of it is looked at.

    Args:
        waveform: (T,) the recording, at the model's rate.
        config: of the model.
        first: where the part begins, a multiple of the hop.
        samples: its length, a multiple of the hop; it may go on, in zeros, beyond the recording's
            end. None: up to that, and to a whole frame.
        notes: what is played in the recording, for a model that is conditioned on notes; the frames
            are theirs.
    """
    hop = config.hop
    if samples is None:
        samples = -(-(len(waveform) - first) // hop) * hop
    if first + samples >= len(waveform) + hop:
        waveform = F.pad(waveform, (0, first + samples - len(waveform)))
    margin = _margin(config)
    begin, end = max(0, first - margin), min(len(waveform), first + samples + margin)
    piece = waveform[None, begin:end].float()
    if isinstance(config, GeneratorConfig) and config.high_pass_hz:
        piece = high_pass(piece, config.high_pass_hz, config.sample_rate)
    mel, context = None, context_of(config)
    where = torch.arange(-context, samples // hop + context)
    if config.mel is not None:
        # Only at the recording's own ends the margin is cut: beyond them frames are copies.
        frames = mel_spectrogram(piece, config.mel)[0, :, : -(-(end - begin) // hop)]
        mel = frames[:, (where + (first - begin) // hop).clamp(0, frames.shape[1] - 1)]
    elif isinstance(config, GeneratorConfig) and config.notes is not None:
        numbers = (where + first // hop).clamp(0, -(-len(waveform) // hop) - 1)
        mel = note_frames(notes, config.notes, numbers, config.sample_rate)
    if isinstance(config, GeneratorConfig):
        if config.gain != 1.0:
            piece = piece * config.gain
        if config.pre_emphasis:
            piece = pre_emphasize(piece, config.pre_emphasis)
    part = piece[0, first - begin : first - begin + samples]
    return Heard(F.pad(part, (0, samples - len(part))), mel)


def frames_of(waveform: Tensor, config: Config, *, notes: Sequence[Note] = ()) -> Tensor:
    """(M, F) of a whole recording, or of a tune as long as it, without the frames of context.

    `stream` takes them so, of a model that has frames, and puts the context there itself.
    """
    mel, context = hear(waveform, config, notes=notes).mel, context_of(config)
    assert mel is not None
    return mel[:, context : mel.shape[1] - context]


def _margin(config: Config) -> int:
    """So many samples at either side of a part decide what it is heard as; a multiple of hop."""
    margin = 0
    if config.mel is not None:
        margin = config.mel.n_fft + (context_of(config) + 1) * config.hop
    if isinstance(config, GeneratorConfig):
        margin += TAPS * (config.high_pass_hz > 0) + (config.pre_emphasis > 0)
    return -(-margin // config.hop) * config.hop
