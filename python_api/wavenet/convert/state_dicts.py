"""A flat dictionary of plain weights from whatever a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from wavenet.convert.torch_files import Inert
from wavenet.errors import ModelError

_HALVES = (  # the size and the direction, as torch.nn.utils has named them
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def state_dict_of(saved: Any) -> dict[str, Tensor]:
    """The weights by name, without data parallel's prefix.

    Raises:
        ModelError: there are none.
    """
    if isinstance(saved, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(saved.get(key), Mapping | Inert):
                return state_dict_of(saved[key])
        weights = {str(k): v for k, v in saved.items() if isinstance(v, Tensor)}
    elif isinstance(saved, Inert):
        weights = dict(_of_module(saved, ""))
    else:
        weights = {}
    if not weights:
        raise ModelError("holds no weights; accepted is a state dictionary or a saved module")
    if all(name.startswith("module.") for name in weights):
        weights = {name[len("module.") :]: value for name, value in weights.items()}
    return weights


def _of_module(module: Inert, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for part in ("_parameters", "_buffers"):
        for name, value in (getattr(module, part, None) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
    for name, child in (getattr(module, "_modules", None) or {}).items():
        if isinstance(child, Inert):
            yield from _of_module(child, f"{prefix}{name}.")


def fold_weight_norm(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Weights g v / |v|, the norm over all dimensions but the first: float64, and how they were."""
    folded = {
        k: v.double() if v.is_floating_point() else v
        for k, v in weights.items()
        if not k.endswith(tuple(half for halves in _HALVES for half in halves))
    }
    found = "none"
    for (size_name, direction_name), how in zip(_HALVES, ("old", "new"), strict=True):
        for name in weights:
            if not name.endswith("." + direction_name):
                continue
            layer = name[: -len(direction_name)]
            if layer + size_name not in weights:
                raise ModelError(f"has {name}, but no {layer + size_name}")
            direction, size = weights[name].double(), weights[layer + size_name].double()
            if direction.dim() < 2 or size.numel() != len(direction):
                raise ModelError(
                    f"its weights don't fit one another: {layer + size_name} has shape "
                    f"{tuple(size.shape)}, {name} {tuple(direction.shape)}"
                )
            norm = _rows_norm(direction)
            folded[layer + "weight"] = size.view_as(norm) * direction / norm
            found = how
    return folded, found


def split_weight_norm(name: str, weight: Tensor) -> dict[str, Tensor]:
    """The other way, by torch's old names; a row of zeros gets a direction all the same."""
    size, direction = _rows_norm(weight), weight.clone()
    direction[size.flatten() == 0] = 1.0
    return {f"{name}.weight_g": size, f"{name}.weight_v": direction}


def _rows_norm(weight: Tensor) -> Tensor:
    """Over all dimensions but the first, which are kept."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))


def width_of(weights: Mapping[str, Tensor]) -> torch.dtype:
    """float64 where the file is in it, else float32."""
    doubles = any(value.dtype == torch.float64 for value in weights.values())
    return torch.float64 if doubles else torch.float32
