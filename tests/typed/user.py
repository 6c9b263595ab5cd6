"""What a user's type checker sees of the packages: `make lint` checks this file as it would theirs.

A comment `type: ignore[...]` is a mistake that must be found: mypy and pyright are told to say
where it is not. pyright is basedpyright, which brings its own node.js.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import assert_type

import wavenet
import wavenet_kernels
from wavenet_kernels.nn import EagerLayer, MigratedStack, ResidualStack, from_eager

x = torch.zeros(1, 4, 10)
assert_type(wavenet_kernels.gated_activation(x), Tensor)
assert_type(wavenet_kernels.available_backends(), tuple[str, ...])
stack = ResidualStack(4, 4, 4, dilations=[1, 2])
assert_type(stack.receptive_field, int)
told = EagerLayer(torch.nn.Conv1d(4, 8, 2), torch.nn.Conv1d(4, 8, 1))
assert_type(from_eager([told]), MigratedStack)
assert_type(wavenet.list_models("*small*"), list[str])

ResidualStack(4, 4, 4, dilations=[1, 2], padding="valid")  # type: ignore[arg-type]
wavenet_kernels.use_backend("gpu")  # type: ignore[arg-type]
