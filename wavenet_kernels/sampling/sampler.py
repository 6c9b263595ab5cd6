"""The autoregressive loop as one operator: parameters of a sample, the sample, and again."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.sampling.loops import CpuLoop, Loop, Stretch, TorchLoop
from wavenet_kernels.sampling.network import SampleNetwork
from wavenet_kernels.sampling.philox import check_noise, checked_seed

# Samples at a time, and bytes of weights that they read at most: Ctrl-C is heard in between, after
# some hundredths of a second.
_PIECE, _PIECE_BYTES = 256, 2**30


class Sampler:
    """Draws signals from a network sample by sample, each fed back as the next one's input.

    Section 2 of van den Oord et al. 2016 (arXiv 1609.03499), with every layer's past kept as in
    Fast WaveNet (arXiv 1611.09482). A call goes on where the one before stopped, so that any
    chunks make the same signal; each sample's random numbers depend on the seed, the sample's
    number and the signal's alone. Samples before the start are the network's `first`, and every
    layer sees zeros before it.

    In float32 on a CPU all of it is one loop in C++, which releases the GIL, and a signal comes out
    bit by bit the same in any batch and on any number of threads: as many as torch may use, or one
    where that is faster; otherwise PyTorch goes around the streamed stack. On other
    instruction sets and devices parameters differ by rounding, so that after a while samples do.

    Args:
        network: the weights, float32 or float64; copied, later changes change nothing here.
        batch: B, signals made side by side; they share each read of the weights.
        weights_dtype: torch.bfloat16 rounds the weights of stack and head, which halves what is
            read for each sample; sums stay float32.

    Raises:
        TypeError, ValueError: an argument that doesn't fit.
        BackendUnavailableError: `use_backend("cpu")` where the loop in C++ can't compute this.

    Example::

        sampler = Sampler(network)
        while True:
            play(sampler.run(256, seed=7))
    """

    def __init__(
        self,
        network: SampleNetwork,
        *,
        batch: int = 1,
        weights_dtype: torch.dtype = torch.float32,
    ) -> None:
        if type(batch) is not int or batch < 1:
            raise ValueError(f"batch is {batch!r}; accepted is an int from 1")
        dtype = network.conv_weight.dtype
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"the weights are {dtype}; accepted are float32 and float64")
        if weights_dtype not in (torch.float32, torch.bfloat16, dtype):
            raise TypeError(
                f"weights_dtype is {weights_dtype}; accepted are {dtype} and torch.bfloat16"
            )
        half = weights_dtype == torch.bfloat16
        network = network.to(dtype)
        self.network, self.batch = _rounded(network) if half else network, batch
        named, why_not = backends.current_backend(), CpuLoop.unavailable(network)
        if named == "cpu" and why_not is not None:
            raise BackendUnavailableError(f'backend "cpu": {why_not}')
        compiled = named in ("auto", "cpu") and why_not is None
        self._loop: Loop = (
            CpuLoop(self.network, batch, half) if compiled else TorchLoop(self.network, batch)
        )
        self._position = 0
        size = sum(tensor.nbytes for tensor in network.tensors.values())
        self._piece = min(_PIECE, max(1, _PIECE_BYTES // size))

    def reset(self) -> None:
        """New signals start."""
        self._loop.reset()
        self._position = 0

    @property
    def position(self) -> int:
        """Samples made since the start."""
        return self._position

    def state(self) -> dict[str, Any]:
        """All that the next samples depend on, beside the network: for `load_state`."""
        return {"position": self._position, "loop": self._loop.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, here or in another sampler of the same network.

        Raises:
            ValueError: it is of another network, batch or kind of loop, or no state.
        """
        if not _alike(state, self.state()):
            raise ValueError(
                "state is not of this sampler's network and batch; accepted is what state() of one "
                "like it gave"
            )
        self._loop.load_state(state["loop"])
        self._position = state["position"]

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
        out: Tensor | None = None,
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
            out: (B, n) that receives the samples, of their dtype, and is returned.

        Returns:
            (B, n): int64 codes of a softmax, else samples in [-1, 1].

        Raises:
            ValueError: an argument that doesn't fit.
            FloatingPointError: parameters that are not finite, with the sample's number.
        """
        seed, first_signal = checked_seed(seed, first_signal, self.batch)
        self._check(n, cond, forced, noise, temperature, parameters, out)
        temperature = float(temperature)
        like = self.network.conv_weight
        dtype = torch.int64 if self.network.codes else like.dtype
        if out is None:
            out = torch.zeros(self.batch, n, dtype=dtype, device=like.device)
        elif out.dtype != dtype:
            raise ValueError(f"out is {out.dtype}; accepted is {dtype}")
        for at in range(0, n, self._piece):
            here = slice(at, min(n, at + self._piece))
            length = here.stop - here.start
            said = None
            if parameters is not None:
                said = like.new_empty(self.batch, length, self.network.parameters)
            made = out.new_empty(self.batch, length)
            broken = self._loop.run(
                Stretch(
                    cond=cond if cond is None or cond.shape[2] == 1 else cond[:, :, here],
                    forced=None if forced is None else forced[:, here].to(out),
                    noise=None if noise is None else noise[:, :, here].to(like),
                    seed=seed,
                    first_signal=first_signal,
                    temperature=temperature,
                    out=made,
                    parameters=said,
                )
            )
            if broken is not None:
                raise FloatingPointError(
                    f"sample {broken}: the network's parameters are not finite numbers; its "
                    "weights, or what it is conditioned on, are out of range"
                )
            out[:, here] = made
            if parameters is not None and said is not None:
                parameters[:, :, here] = said.transpose(1, 2)
            self._position += length
        return out

    def _check(
        self,
        n: int,
        cond: Tensor | None,
        forced: Tensor | None,
        noise: Tensor | None,
        temperature: float,
        parameters: Tensor | None,
        out: Tensor | None,
    ) -> None:
        if type(n) is not int or n < 0:
            raise ValueError(f"n is {n!r}; accepted is an int from 0")
        numeric = isinstance(temperature, SupportsFloat)
        if not numeric or not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature!r}; accepted is more than 0")
        batch, network = self.batch, self.network
        for name, tensor, shapes in (
            ("cond", cond, [(batch, network.cond_channels, time) for time in (n, 1)]),
            ("forced", forced, [(batch, n)]),
            ("noise", noise, [(batch, 4, n)]),
            ("parameters", parameters, [(batch, network.parameters, n)]),
            ("out", out, [(batch, n)]),
        ):
            if tensor is None:
                continue
            accepted = " or ".join(map(str, dict.fromkeys(shapes)))
            if not isinstance(tensor, Tensor):
                raise ValueError(
                    f"{name} is a {type(tensor).__name__}; accepted is a tensor {accepted}"
                )
            if tuple(tensor.shape) not in shapes:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; accepted is {accepted}")
        if noise is not None:
            check_noise(noise, (batch, 4, n))
        if forced is not None and network.draw == "softmax":
            whole = not forced.is_floating_point()
            if not whole or (n and not 0 <= forced.min() <= forced.max() < network.codes):
                raise ValueError(f"forced holds no codes; accepted are 0 to {network.codes - 1}")


def _alike(one: Any, other: Any) -> bool:
    """Whether two states have the same tensors' shapes in the same places."""
    if isinstance(other, Tensor):
        fits = isinstance(one, Tensor) and one.shape == other.shape
        return fits and (one.dtype, one.device) == (other.dtype, other.device)
    if isinstance(other, dict):
        keys = isinstance(one, dict) and one.keys() == other.keys()
        return keys and all(_alike(one[key], other[key]) for key in other)
    if isinstance(other, tuple):
        many = isinstance(one, tuple | list) and len(one) == len(other)
        return many and all(map(_alike, one, other))
    return type(one) is int and one >= 0


def _rounded(network: SampleNetwork) -> SampleNetwork:
    """With the weights of stack and head as bfloat16 has them."""
    names = ("conv_weight", "out_weight", "hidden_weight", "output_weight")
    changed: dict[str, Any] = {}
    for name in names:
        weight: Tensor = getattr(network, name)
        changed[name] = weight.bfloat16().to(weight.dtype)
    return replace(network, **changed)
