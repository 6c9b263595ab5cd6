"""The autoregressive loop as one operator: parameters of a sample, the sample, and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels.nn.streams import StackStream
from wavenet_kernels.sampling.draws import draw_class, draw_gaussian, draw_logistic
from wavenet_kernels.sampling.network import SampleNetwork
from wavenet_kernels.sampling.philox import uniforms

_DRAWS: dict[str, Callable[..., Tensor]] = {
    "softmax": draw_class,
    "logistic": draw_logistic,
    "gaussian": draw_gaussian,
}


class Sampler:
    """Draws signals from a network sample by sample, each fed back as the next one's input.

    Section 2 of van den Oord et al. 2016 (arXiv 1609.03499), with every layer's past kept as in
    Fast WaveNet (arXiv 1611.09482). A call goes on where the one before stopped, so that any
    chunks make the same signal; each sample's random numbers depend on the seed, the sample's
    number and the signal's alone. Samples before the start are the network's `first`, and every
    layer sees zeros before it.

    Args:
        network: the weights; copied, later changes change nothing here.
        batch: B, signals made side by side.

    Example::

        sampler = Sampler(network)
        while True:
            play(sampler.run(256, seed=7))
    """

    def __init__(self, network: SampleNetwork, *, batch: int = 1) -> None:
        if type(batch) is not int or batch < 1:
            raise ValueError(f"batch is {batch!r}; accepted is an int from 1")
        dtype = network.conv_weight.dtype
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"the weights are {dtype}; accepted are float32 and float64")
        self.network, self.batch = network.to(dtype), batch
        self._stack = StackStream(
            self.network.conv_weight,
            self.network.conv_bias,
            self.network.out_weight,
            self.network.out_bias,
            dilations=network.dilations,
            batch=batch,
            residual_scale=network.residual_scale,
        )
        self.reset()

    def reset(self) -> None:
        """New signals start."""
        self._stack.reset()
        self._position = 0
        self._past = self._values(self.batch, self.network.taps).fill_(self.network.first)

    @property
    def position(self) -> int:
        """Samples made since the start."""
        return self._position

    def state(self) -> dict[str, Any]:
        """All that the next samples depend on, beside the network: for `load_state`."""
        stack = self._stack.__getstate__()["state"]
        return {"position": self._position, "past": self._past.clone(), "stack": stack}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, here or in another sampler of the same network."""
        call = self._stack.__getstate__()["call"]
        self._stack.__setstate__({"call": call, "state": state["stack"]})
        self._position, self._past = state["position"], state["past"].clone()

    @torch.no_grad()
    def run(
        self,
        n: int,
        cond: Tensor | None = None,
        *,
        forced: Tensor | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        first_signal: int = 0,
        parameters: Tensor | None = None,
    ) -> Tensor:
        """The next n samples of each signal.

        Args:
            n: how many.
            cond: (B, L 2D, n or 1), added to the gates.
            forced: (B, n) samples that are fed back instead of those drawn, which are returned
                still.
            noise: (B, 4, n) uniform numbers of 0 to 1 instead of those of the seed.
            seed: 64 bits; of Philox, by the sample's number and the signal's.
            temperature: logits are divided by it, scales multiplied.
            first_signal: the number of the first of these signals under the seed.
            parameters: (B, P, n) that receives what the network said of each sample.

        Returns:
            (B, n): int64 codes of a softmax, else samples in [-1, 1].

        Raises:
            ValueError: an argument that doesn't fit.
            FloatingPointError: parameters that are not finite, with the sample's number.
        """
        self._check(n, cond, forced, noise, temperature, parameters)
        network = self.network
        like = network.conv_weight
        if noise is None:
            noise = uniforms(
                seed,
                n,
                batch=self.batch,
                start=self._position,
                first_signal=first_signal,
                device=like.device,
            )
        noise = noise.to(like)
        out = self._values(self.batch, n)
        floors = () if network.draw == "softmax" else (network.scale_floor,)
        for t in range(n):
            at = None if cond is None else cond[:, :, t : t + 1] if cond.shape[2] > 1 else cond
            x = network.embed(self._past)
            _, skip = self._stack(x.unsqueeze(2), at)
            said = network.head(skip[:, :, 0])
            if not torch.isfinite(said).all():
                raise FloatingPointError(
                    f"sample {self._position}: the network's parameters are not finite numbers; "
                    "its weights, or what it is conditioned on, are out of range"
                )
            if parameters is not None:
                parameters[:, :, t] = said
            each = noise[:, :, t : t + 1]
            drawn = _DRAWS[network.draw](said.unsqueeze(2), each, temperature, *floors)[:, 0]
            out[:, t] = drawn
            heard = drawn if forced is None else forced[:, t].to(out.dtype)
            self._past = torch.cat([self._past[:, 1:], heard.unsqueeze(1)], dim=1)
            self._position += 1
        return out

    def _values(self, *shape: int) -> Tensor:
        like = self.network.conv_weight
        dtype = torch.int64 if self.network.draw == "softmax" else like.dtype
        return torch.zeros(shape, dtype=dtype, device=like.device)

    def _check(
        self,
        n: int,
        cond: Tensor | None,
        forced: Tensor | None,
        noise: Tensor | None,
        temperature: float,
        parameters: Tensor | None,
    ) -> None:
        if type(n) is not int or n < 0:
            raise ValueError(f"n is {n!r}; accepted is an int from 0")
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; accepted is more than 0")
        batch, network = self.batch, self.network
        for name, tensor, shapes in (
            ("cond", cond, [(batch, network.cond_channels, time) for time in (n, 1)]),
            ("forced", forced, [(batch, n)]),
            ("noise", noise, [(batch, 4, n)]),
            ("parameters", parameters, [(batch, network.parameters, n)]),
        ):
            if tensor is not None and tuple(tensor.shape) not in shapes:
                accepted = " or ".join(map(str, dict.fromkeys(shapes)))
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; accepted is {accepted}")
        if forced is not None and network.draw == "softmax":
            whole = not forced.is_floating_point()
            if not whole or (n and not 0 <= forced.min() <= forced.max() < network.codes):
                raise ValueError(f"forced holds no codes; accepted are 0 to {network.codes - 1}")
