"""What the sampling loop runs: the weights of a WaveNet, from samples to the next's parameters."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = ("softmax", "logistic", "gaussian")


@dataclass(frozen=True)
class SampleNetwork:
    """Input, residual stack and head of a WaveNet, and what its outputs are parameters of.

        h = input of the last samples;  s = skip_scale * skip sum of the stack of h
        parameters = output(relu(hidden(relu(s))))

    Attributes:
        input_weight: (taps, A, R) rows of a table for codes, oldest sample first, or (taps, 1, R)
            factors of scalars.
        input_bias: (R,) or None.
        conv_weight, conv_bias, out_weight, out_bias: as of `residual_stack`.
        hidden_weight, hidden_bias: (H, S), (H,) or None.
        output_weight, output_bias: (P, H), (P,) or None.
        dilations: one for each layer.
        draw: "softmax" (P codes), "logistic" (P = 3 N: logits, means, log scales) or "gaussian"
            (the same, or P = 2: mean, log scale).
        first: what the samples before the start are: a code, or a number.
        residual_scale: as of `residual_stack`.
        skip_scale: of the skip sum.
        input_tanh: whether the input goes through tanh.
        scale_floor: log scales are at least this where samples are drawn; None: no floor.
    """

    input_weight: Tensor
    input_bias: Tensor | None
    conv_weight: Tensor
    conv_bias: Tensor | None
    out_weight: Tensor
    out_bias: Tensor | None
    hidden_weight: Tensor
    hidden_bias: Tensor | None
    output_weight: Tensor
    output_bias: Tensor | None
    dilations: tuple[int, ...]
    draw: str
    first: float = 0.0
    residual_scale: float = 1.0
    skip_scale: float = 1.0
    input_tanh: bool = False
    scale_floor: float | None = None

    def __post_init__(self) -> None:
        if self.draw not in DRAWS:
            raise ValueError(f"draw is {self.draw!r}; accepted is one of {DRAWS}")
        layers = len(self.dilations)
        if self.conv_weight.dim() != 4 or self.conv_weight.shape[0] != layers:
            raise ValueError(
                f"conv_weight has shape {tuple(self.conv_weight.shape)}; accepted is "
                f"({layers}, 2D, R, K), a layer for each of dilations"
            )
        _, gates, residual, _ = self.conv_weight.shape
        skip = self.hidden_weight.shape[-1]
        hidden, parameters = self.hidden_weight.shape[0], self.output_weight.shape[0]
        expected = {
            "input_weight": (self.input_weight.shape[0], self.input_weight.shape[1], residual),
            "input_bias": (residual,),
            "conv_bias": (layers, gates),
            "out_weight": (layers, residual + skip, gates // 2),
            "out_bias": (layers, residual + skip),
            "hidden_weight": (hidden, skip),
            "hidden_bias": (hidden,),
            "output_weight": (parameters, hidden),
            "output_bias": (parameters,),
        }
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; accepted is {shape}")
        fits = (
            parameters == self.codes
            if self.draw == "softmax"
            else not self.codes
            and (parameters % 3 == 0 or (self.draw == "gaussian" and parameters == 2))
        )
        if not fits:
            raise ValueError(
                f"output_weight has {parameters} rows and input_weight {self.codes or 1} values of "
                f"a sample; accepted with draw {self.draw!r} is "
                + ("as many" if self.draw == "softmax" else "3 rows a component and 1 value")
            )

    @property
    def codes(self) -> int:
        """A of a table of codes; 0 for scalars."""
        return self.input_weight.shape[1] if self.draw == "softmax" else 0

    @property
    def taps(self) -> int:
        """Samples that the input sees."""
        return self.input_weight.shape[0]

    @property
    def parameters(self) -> int:
        """P."""
        return self.output_weight.shape[0]

    @property
    def cond_channels(self) -> int:
        """L 2D."""
        return len(self.dilations) * self.conv_weight.shape[1]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if isinstance(value, Tensor)}

    def to(self, dtype: torch.dtype) -> SampleNetwork:
        """A copy of these weights in a dtype, without gradients."""
        changed: dict[str, Any] = {
            name: t.detach().to(dtype, copy=True) for name, t in self.tensors.items()
        }
        return replace(self, **changed)

    def embed(self, past: Tensor) -> Tensor:
        """The stack's input of the last samples, (B, taps), oldest first -> (B, R)."""
        x = self.input_weight.new_zeros(())
        for tap, weight in enumerate(self.input_weight):
            if self.draw == "softmax":
                x = x + F.embedding(past[:, tap], weight)
            else:
                x = x + past[:, tap, None] * weight
        if self.input_bias is not None:
            x = x + self.input_bias
        return x.tanh() if self.input_tanh else x

    def head(self, skip: Tensor) -> Tensor:
        """Of the skip sum (B, S) -> parameters (B, P)."""
        hidden = F.linear((self.skip_scale * skip).relu(), self.hidden_weight, self.hidden_bias)
        return F.linear(hidden.relu(), self.output_weight, self.output_bias)
