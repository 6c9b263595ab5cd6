"""`wavenet.nn` is another name of the layers in `wavenet_kernels.nn`, and of what generates."""

from __future__ import annotations

import wavenet.nn
import wavenet_kernels.nn
from wavenet.generation import conditioning, distributions, flow

HOMES = {
    **dict.fromkeys(("MixtureOfGaussians", "MixtureOfLogistics", "Softmax"), distributions),
    **dict.fromkeys(("Conditioning", "MelUpsample"), conditioning),
    **dict.fromkeys(("WN", "InvertibleConv1x1"), flow),
    **dict.fromkeys(wavenet_kernels.nn.__all__, wavenet_kernels.nn),
}


def test_they_are_the_same_objects():
    assert {*wavenet.nn.__all__} == {*HOMES}
    for name, home in HOMES.items():
        assert getattr(wavenet.nn, name) is getattr(home, name)
