"""Ten synthesised environmental sounds: a data set that needs no download."""

from wavenet.classifier.data.synth.scene import SOUNDS, synthesise
from wavenet.classifier.data.synth.write import write_data_set

__all__ = ["SOUNDS", "synthesise", "write_data_set"]
