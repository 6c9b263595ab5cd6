"""The weights of one checkpoint, taken one by one, so that what is left over shows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wavenet.errors import ModelError


class Weights:
    """Raises ModelError, with the name, for a weight that isn't there."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._left = dict(weights)

    def look(self, name: str) -> Tensor:
        """One that stays."""
        if name not in self._left:
            raise ModelError(f"has no {name}")
        return self._left[name]

    def take(self, name: str) -> Tensor:
        """One that is used."""
        tensor = self.look(name)
        del self._left[name]
        return tensor

    def has(self, pattern: str, layers: int) -> bool:
        """Whether any layer has what `stack` takes of all."""
        return any(pattern.format(n) in self._left for n in range(layers))

    def stack(self, pattern: str, layers: int) -> Tensor:
        """Of every layer, whose number stands for {}: with a leading L."""
        return torch.stack([self.take(pattern.format(n)) for n in range(layers)])

    def count(self, prefix: str) -> int:
        """How many numbers follow the prefix."""
        names = (k for k in self._left if k.startswith(prefix))
        return len({name[len(prefix) :].split(".")[0] for name in names})

    def numbered(self, prefix: str) -> list[Tensor]:
        """All of prefix N .weight, by N."""
        names = [k for k in self._left if k.startswith(prefix) and k.endswith(".weight")]
        names.sort(key=lambda name: int(name[len(prefix) :].split(".")[0]))
        return [self.take(name) for name in names]

    def finish(self) -> None:
        """Raise ModelError for what was not used."""
        if self._left:
            raise ModelError(f"has weights of no known use: {', '.join(sorted(self._left)[:5])}")


def take_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Into a model, whose sizes are those of some of them.

    Raises:
        ModelError: shapes that don't fit one another, or values that aren't finite.
    """
    for name, own in model.state_dict().items():
        if weights[name].shape != own.shape:
            came, accepted = tuple(weights[name].shape), tuple(own.shape)
            raise ModelError(
                f"its weights don't fit one another: {name} would be {came}, the others ask for "
                f"{accepted}"
            )
        if not torch.isfinite(weights[name]).all():
            raise ModelError(f"has weights that aren't finite numbers, of {name}")
    model.load_state_dict(weights)
