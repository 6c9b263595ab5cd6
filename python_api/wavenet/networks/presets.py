"""Architectures by name."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

# Their sizes, receptive fields and speeds: python -m benchmarks presets
PRESETS: dict[str, dict[str, Any]] = {
    # For small devices: steps of 1 ms at 16 kHz.
    "wavenet-tiny": {
        "input": "mu-law",
        "stem_stride": 16,
        "stem_kernel_size": 64,
        "residual_channels": 16,
        "dilation_channels": 16,
        "skip_channels": 32,
        "layers_per_stack": 7,
        "stacks": 1,
        "head_channels": 64,
        "pooling": "attention",
        "dropout": 0.1,
    },
    # What --config demo trains on two CPU cores.
    "wavenet-small": {
        "input": "mu-law",
        "stem_stride": 16,
        "stem_kernel_size": 64,
        "residual_channels": 32,
        "dilation_channels": 32,
        "skip_channels": 64,
        "layers_per_stack": 7,
        "stacks": 2,
        "head_channels": 128,
        "pooling": "attention",
        "dropout": 0.2,
    },
    # For a GPU, and more data.
    "wavenet-base": {
        "input": "mu-law",
        "stem_stride": 8,
        "stem_kernel_size": 32,
        "residual_channels": 64,
        "dilation_channels": 64,
        "skip_channels": 128,
        "layers_per_stack": 8,
        "stacks": 3,
        "head_channels": 256,
        "pooling": "attention",
        "dropout": 0.2,
    },
    # Sections 2 and 3.4 of arXiv 1609.03499: a step a sample, 256 classes in, both losses. The
    # paper gives no widths, no number of layers for classification and no weight of the losses.
    "wavenet-paper": {
        "input": "one-hot",
        "stem_stride": 1,
        "stem_kernel_size": 2,
        "residual_channels": 64,
        "dilation_channels": 64,
        "skip_channels": 256,
        "layers_per_stack": 10,
        "stacks": 3,
        "head_channels": 256,
        "pooling": "mean",
        "next_sample_weight": 1.0,
    },
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that `wavenet.create_model` knows, of those the ones that match, "*small*" say."""
    return [name for name in PRESETS if fnmatchcase(name, pattern)]


def preset(name: str) -> dict[str, Any]:
    """The fields of `Architecture` that a name stands for.

    Raises:
        ValueError: there is no such name.
    """
    if name not in list(PRESETS):  # YAML may give anything, also what can't be a key
        raise ValueError(f"preset is {name!r}; accepted are {', '.join(PRESETS)}")
    return dict(PRESETS[name])
