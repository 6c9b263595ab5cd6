"""Waveforms: reading them whole or block by block, mu-law, what can happen to them.

No model is imported here, so that any model may import this.
"""

from wavenet.audio.blocks import audio_blocks, pcm_blocks
from wavenet.audio.mulaw import mu_law_compress, mu_law_decode, mu_law_encode
from wavenet.audio.reading import read_audio

__all__ = [
    "audio_blocks",
    "mu_law_compress",
    "mu_law_decode",
    "mu_law_encode",
    "pcm_blocks",
    "read_audio",
]
