"""The commands of `wavenet` that are more than a few lines; what they need is imported in them.

`wavenet --help` should not wait for torch.
"""

from wavenet.commands.augment_preview import augment_preview
from wavenet.commands.check_data import check_data
from wavenet.commands.cross_validate import cross_validate
from wavenet.commands.demo_app import demo_app
from wavenet.commands.export import export
from wavenet.commands.report import report
from wavenet.commands.stream import stream
from wavenet.commands.timeline import timeline

__all__ = [
    "augment_preview",
    "check_data",
    "cross_validate",
    "demo_app",
    "export",
    "report",
    "stream",
    "timeline",
]
