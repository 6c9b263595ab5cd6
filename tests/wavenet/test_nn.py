"""`wavenet.nn` is another name of the layers in `wavenet_kernels.nn`."""

from __future__ import annotations

import wavenet.nn
import wavenet_kernels.nn


def test_the_layers_are_the_same_objects():
    from wavenet.nn import ResidualStack

    assert ResidualStack is wavenet_kernels.nn.ResidualStack
    assert wavenet.nn.__all__ == wavenet_kernels.nn.__all__
    for name in wavenet.nn.__all__:
        assert getattr(wavenet.nn, name) is getattr(wavenet_kernels.nn, name)
