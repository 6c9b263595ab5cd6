"""Ten synthesised environmental sounds: a data set that needs no download."""

from .scene import SOUNDS, synthesise
from .write import write_data_set

__all__ = ["SOUNDS", "synthesise", "write_data_set"]
