"""`wavenet.nn` is another name of the layers in `wavenet_kernels.nn`, and of the distributions."""

from __future__ import annotations

import wavenet.nn
import wavenet_kernels.nn
from wavenet.generation import distributions


def test_they_are_the_same_objects():
    from wavenet.nn import ResidualStack

    assert ResidualStack is wavenet_kernels.nn.ResidualStack
    of_distributions = {"MixtureOfGaussians", "MixtureOfLogistics", "Softmax"}
    assert {*wavenet.nn.__all__} == {*wavenet_kernels.nn.__all__} | of_distributions
    for name in wavenet.nn.__all__:
        home = distributions if name in of_distributions else wavenet_kernels.nn
        assert getattr(wavenet.nn, name) is getattr(home, name)
