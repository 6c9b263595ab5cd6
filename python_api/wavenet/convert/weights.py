"""The weights of one checkpoint, taken one by one, so that what is left over shows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

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

    def find(self, name: str) -> Tensor | None:
        """The same, or None."""
        return self._left.pop(name, None)

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
