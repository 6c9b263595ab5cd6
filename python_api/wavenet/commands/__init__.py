"""The commands of `wavenet` that are more than a few lines; what they need is imported in them.

`wavenet --help` should not wait for torch.
"""

from wavenet.commands.augment_preview import augment_preview

__all__ = ["augment_preview"]
