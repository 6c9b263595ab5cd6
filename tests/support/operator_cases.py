"""Shapes for the operators, awkward ones on purpose, and the tensors that go with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One call: sizes, biases (of the convolution, of the 1x1s), conditioning."""

    batch: int = 2
    residual: int = 16
    dilation_channels: int = 16
    skip: int = 32
    taps: int = 2
    time: int = 50
    dilations: tuple[int, ...] = (1, 2, 4)
    padding: str = "causal"
    conv_bias: bool = True
    out_bias: bool = True
    cond: str = "none"  # none, global, local
    scale: float = 1.0

    def __str__(self) -> str:
        return (
            f"B{self.batch}R{self.residual}D{self.dilation_channels}S{self.skip}K{self.taps}"
            f"T{self.time}d{'.'.join(map(str, self.dilations))}{self.padding[0]}"
            f"b{int(self.conv_bias)}{int(self.out_bias)}{self.cond[0]}"
        )


CASES = [
    Case(),
    Case(batch=1, time=1),
    Case(time=3, dilations=(8, 1)),
    Case(residual=5, dilation_channels=7, skip=3, taps=3, time=97, cond="local"),
    Case(residual=1, dilation_channels=1, skip=1, taps=1, time=33, cond="global"),
    Case(residual=3, dilation_channels=1, skip=5, taps=2, time=30, cond="local"),
    Case(batch=4, residual=16, skip=600, time=20, dilations=(1,)),
    Case(residual=33, dilation_channels=17, skip=0, taps=4, time=70, dilations=(3, 64)),
    Case(residual=8, dilation_channels=24, skip=40, taps=3, padding="same", cond="local"),
    Case(
        residual=12, dilation_channels=9, skip=65, taps=5, padding="same", time=41, conv_bias=False
    ),
    Case(batch=3, time=129, dilations=(1, 1024), out_bias=False, cond="global", scale=0.5**0.5),
    Case(residual=64, dilation_channels=64, skip=128, time=200, dilations=(16, 128)),
    Case(
        residual=64,
        dilation_channels=32,
        skip=16,
        taps=2,
        time=193,
        conv_bias=False,
        out_bias=False,
    ),
    Case(residual=20, dilation_channels=40, skip=10, taps=8, time=100, dilations=(2, 7), scale=0.7),
]
# For the CUDA kernels: on one multiprocessor a block walks over several tiles of these. Rings of
# three and of five slabs of weights; inputs of the next tile come during products.
WALKS = [
    Case(
        batch=1,
        residual=128,
        dilation_channels=128,
        skip=128,
        taps=3,
        time=400,
        dilations=(1, 2, 64),  # two layers in one launch, one in tall tiles
        cond="local",
    ),
    Case(
        batch=1,
        residual=256,
        dilation_channels=64,
        skip=192,
        taps=3,
        padding="same",
        time=300,
        dilations=(1, 2),
    ),
]


def tensor(*shape: int, seed: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)


def strided(x: Tensor, how: str) -> Tensor:
    """The same values in other memory: rows order, with gaps, at an offset."""
    if how == "contiguous":
        return x.contiguous()
    if how == "rows":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    batch, channels, time = x.shape
    if how == "offset rows":
        wide = x.new_full((batch, time + 2, channels + 3), float("nan"))
        view = wide[:, 1 : 1 + time, 2 : 2 + channels].transpose(1, 2)
    else:  # every second element of a larger tensor, in reversed order of dimensions
        wide = x.new_full((2 * time, 2 * channels, batch), float("nan"))
        view = wide[::2, ::2].permute(2, 1, 0)
    return view.copy_(x)


LAYOUTS = ("contiguous", "rows", "offset rows", "gaps")


def stack_arguments(case: Case, dtype: torch.dtype, device: str = "cpu") -> list[Tensor | None]:
    """x, conv_weight, conv_bias, out_weight, out_bias, cond of a residual stack."""
    layers, channels = len(case.dilations), 2 * case.dilation_channels
    out = case.residual + case.skip

    def make(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
        return scale * tensor(*shape, seed=seed, dtype=dtype, device=device)

    x = make(case.batch, case.residual, case.time, seed=1)
    scale = (case.residual * case.taps) ** -0.5
    conv_weight = make(layers, channels, case.residual, case.taps, seed=2, scale=scale)
    conv_bias = make(layers, channels, seed=3) if case.conv_bias else None
    out_weight = make(
        layers, out, case.dilation_channels, seed=4, scale=case.dilation_channels**-0.5
    )
    out_bias = make(layers, out, seed=5) if case.out_bias else None
    cond = None
    if case.cond != "none":
        times = 1 if case.cond == "global" else case.time
        cond = make(case.batch, layers * channels, times, seed=6)
    return [x, conv_weight, conv_bias, out_weight, out_bias, cond]


def block_arguments(case: Case, dtype: torch.dtype, device: str = "cpu") -> list[Tensor | None]:
    """The same of the stack's first layer."""
    x, *weights, cond = stack_arguments(case, dtype, device)
    if cond is not None:
        cond = cond[:, : 2 * case.dilation_channels]
    return [x, *(None if w is None else w[0] for w in weights), cond]


def call(operator: str, case: Case, dtype: torch.dtype, device: str = "cpu"):
    """Positional tensors and keyword settings of a public operator for this case."""
    x, conv_weight, conv_bias, out_weight, out_bias, cond = block_arguments(case, dtype, device)
    settings = {"dilation": case.dilations[-1], "padding": case.padding}
    if operator == "gated_activation":
        a = tensor(case.batch, 2 * case.dilation_channels, case.time, seed=7, dtype=dtype)
        return [3 * a.to(device), cond], {}
    if operator == "dilated_conv1d":
        return [x, conv_weight, conv_bias], settings
    if operator == "gated_conv1d":
        return [x, conv_weight, conv_bias, cond], settings
    if operator == "residual_block":
        tensors = [x, conv_weight, conv_bias, out_weight, out_bias, cond]
        return tensors, {**settings, "residual_scale": case.scale}
    assert operator == "residual_stack"
    return stack_arguments(case, dtype, device), {
        "dilations": case.dilations,
        "padding": case.padding,
        "residual_scale": case.scale,
    }


DIFFERENTIABLE = (
    "gated_activation",
    "dilated_conv1d",
    "gated_conv1d",
    "residual_block",
    "residual_stack",
)


def outputs_and_gradients(operator, tensors, settings, poison=None):
    """Of `operator`, a function; `poison`(gradients of the outputs) may change those."""
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    outputs = operator(*leaves, **settings)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    generator = torch.Generator().manual_seed(0)
    upstream = [torch.randn(o.shape, generator=generator).to(o.dtype) for o in outputs]
    if poison is not None:
        poison(upstream)
    wanted = [leaf for leaf in leaves if leaf is not None]
    return outputs + list(torch.autograd.grad(outputs, wanted, upstream))
