"""Right: eager PyTorch under another name."""

from wavenet_kernels.backends.eager import *  # noqa: F403
