"""Ten synthesised environmental sounds, and melodies: data sets that need no download."""

from wavenet.classifier.data.synth.melodies import INSTRUMENTS, melody
from wavenet.classifier.data.synth.scene import SOUNDS, synthesise
from wavenet.classifier.data.synth.write import KINDS, write_data_set

__all__ = ["INSTRUMENTS", "KINDS", "SOUNDS", "melody", "synthesise", "write_data_set"]
