"""The commands of `wavenet` that are more than a few lines; what they need is imported in them.

`wavenet --help` should not wait for torch.
"""

from wavenet.commands.export import export
from wavenet.commands.report import report
from wavenet.commands.stream import stream
from wavenet.commands.timeline import timeline

__all__ = ["export", "report", "stream", "timeline"]
