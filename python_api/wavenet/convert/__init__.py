"""Models that others trained, into ours and back."""

from wavenet.convert.load import Imported, import_checkpoint, load_checkpoint
from wavenet.convert.vocoder import to_vocoder
from wavenet.convert.waveglow import to_waveglow

__all__ = ["Imported", "import_checkpoint", "load_checkpoint", "to_vocoder", "to_waveglow"]
