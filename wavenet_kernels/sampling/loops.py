"""Who computes the loop: PyTorch around the streamed stack, or all of it in C++ on a CPU."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wavenet_kernels.nn.streams import StackStream
from wavenet_kernels.rows import address_of, rows_of
from wavenet_kernels.sampling.draws import draw_class, draw_gaussian, draw_logistic
from wavenet_kernels.sampling.network import SampleNetwork
from wavenet_kernels.sampling.philox import uniforms

_missing: str | None = None
try:
    import wavenet_kernels._cpu as _cpu
except ImportError as error:
    _missing = f"its compiled module can't be loaded ({error}); `pip install .` builds it"

# Threads meet twice in a layer. That may pay from so many bytes of weights for each on, and does
# where the cores are near each other and idle: it is tried, once in so many calls.
_BYTES_A_THREAD = 2**18
_TRIED_EVERY = 32

_DRAWS: dict[str, Callable[..., Tensor]] = {
    "softmax": draw_class,
    "logistic": draw_logistic,
    "gaussian": draw_gaussian,
}


@dataclass(frozen=True)
class Stretch:
    """The next samples: what they are made of, and the tensors that receive them."""

    cond: Tensor | None  # (B, L 2D, n or 1)
    forced: Tensor | None  # (B, n), as `out`
    noise: Tensor | None  # (B, 4, n), or the seed's
    seed: int
    first_signal: int
    temperature: float
    out: Tensor  # (B, n)
    parameters: Tensor | None  # (B, n, P)


class Loop(Protocol):
    """What both are: signals from their start on."""

    def reset(self) -> None:
        """New signals start."""

    def run(self, stretch: Stretch) -> int | None:
        """Make the samples; the number of the first one whose parameters aren't finite, or None."""

    def state(self) -> Any:
        """What the next samples depend on."""

    def load_state(self, state: Any) -> None:
        """Go on from a state."""


class TorchLoop:
    """A sample at a time through the streamed stack of whatever backend is in force."""

    def __init__(self, network: SampleNetwork, batch: int) -> None:
        self.network, self.batch = network, batch
        self._stack = StackStream(
            network.conv_weight,
            network.conv_bias,
            network.out_weight,
            network.out_bias,
            dilations=network.dilations,
            batch=batch,
            residual_scale=network.residual_scale,
        )
        self.reset()

    def reset(self) -> None:
        self._stack.reset()
        self._position = 0
        dtype = torch.int64 if self.network.codes else self.network.conv_weight.dtype
        like, shape = self.network.conv_weight, (self.batch, self.network.taps)
        self._past = torch.full(shape, self.network.first, dtype=dtype, device=like.device)

    def run(self, stretch: Stretch) -> int | None:
        network, like, n = self.network, self.network.conv_weight, stretch.out.shape[1]
        noise = stretch.noise
        if noise is None:
            noise = uniforms(
                stretch.seed,
                n,
                batch=self.batch,
                start=self._position,
                first_signal=stretch.first_signal,
                device=like.device,
            )
        noise, cond = noise.to(like), stretch.cond
        floors = () if network.draw == "softmax" else (network.scale_floor,)
        for t in range(n):
            at = None if cond is None else cond[:, :, t : t + 1] if cond.shape[2] > 1 else cond
            _, skip = self._stack(network.embed(self._past).unsqueeze(2), at)
            said = network.head(skip[:, :, 0])
            if not torch.isfinite(said).all():
                return self._position
            if stretch.parameters is not None:
                stretch.parameters[:, t] = said
            each = noise[:, :, t : t + 1]
            drawn = _DRAWS[network.draw](said.unsqueeze(2), each, stretch.temperature, *floors)[
                :, 0
            ]
            stretch.out[:, t] = drawn
            heard = drawn if stretch.forced is None else stretch.forced[:, t]
            self._past = torch.cat([self._past[:, 1:], heard.unsqueeze(1)], dim=1)
            self._position += 1
        return None

    def state(self) -> Any:
        return self._position, self._past.clone(), self._stack._stream.state()

    def load_state(self, state: Any) -> None:
        self._position, past, stack = state
        self._past = past.clone()
        self._stack._stream.load_state(stack)


class _Pace:
    """One thread or all that torch may use: whichever was faster. The samples are the same."""

    def __init__(self, weight_bytes: int) -> None:
        self._bytes = weight_bytes
        self._seconds: dict[int, float] = {}  # a sample, by threads
        self._calls = 0

    @contextlib.contextmanager
    def threads(self, samples: int) -> Iterator[int]:
        """For the next call, which makes so many samples and is timed."""
        chosen = self._choose()
        started = time.perf_counter()
        yield chosen
        if samples:
            self._seconds[chosen] = (time.perf_counter() - started) / samples

    def _choose(self) -> int:
        both = 1, min(torch.get_num_threads(), self._bytes // _BYTES_A_THREAD)
        if both[1] <= 1:
            return 1
        self._calls += 1
        slower, faster = sorted(both, key=lambda n: -self._seconds.get(n, 0.0))
        return slower if self._calls % _TRIED_EVERY == 0 else faster


class CpuLoop:
    """csrc/cpu/sampler.h, in float32 with weights of float32 or bfloat16."""

    def __init__(self, network: SampleNetwork, batch: int, half: bool) -> None:
        held = {name: tensor.contiguous() for name, tensor in network.tensors.items()}
        _, gates, residual, taps = network.conv_weight.shape
        names = ("input", "conv", "out", "hidden", "output")
        read = [held[f"{name}_weight"].nbytes for name in names if name != "input"]
        self._pace = _Pace(batch * sum(read) // (2 if half else 1))
        self._sampler = _cpu.Sampler(
            isa=os.environ.get("WAVENET_KERNELS_CPU_ISA", ""),
            batch=batch,
            half=half,
            codes=network.codes,
            taps=network.taps,
            R=residual,
            D=gates // 2,
            S=network.hidden_weight.shape[1],
            K=taps,
            H=network.hidden_weight.shape[0],
            P=network.parameters,
            dilations=network.dilations,
            draw=network.draw,
            first=float(network.first),
            residual_scale=network.residual_scale,
            skip_scale=network.skip_scale,
            input_tanh=network.input_tanh,
            scale_floor=network.scale_floor,
            **{f"{name}_weight": address_of(held[f"{name}_weight"]) for name in names},
            **{f"{name}_bias": address_of(held.get(f"{name}_bias")) for name in names},
        )

    @staticmethod
    def unavailable(network: SampleNetwork) -> str | None:
        """Why it can't compute this network, or None."""
        like = network.conv_weight
        if _missing is not None:
            return _missing
        if like.device.type != "cpu" or like.dtype != torch.float32:
            return (
                f"the loop in C++ computes in float32 on CPUs, not in {like.dtype} on {like.device}"
            )
        return None

    def reset(self) -> None:
        self._sampler.reset()

    def run(self, stretch: Stretch) -> int | None:
        out, cond = stretch.out, stretch.cond
        n = out.shape[1]
        if cond is not None:  # channels side by side
            cond = cond.float().transpose(1, 2).contiguous().transpose(1, 2).expand(-1, -1, n)
        noise = None if stretch.noise is None else stretch.noise.float().contiguous()
        forced = None if stretch.forced is None else stretch.forced.contiguous()
        with self._pace.threads(n) as threads:
            broken: int = self._sampler.run(
                n=n,
                cond=rows_of(cond),
                forced=address_of(forced),
                noise=address_of(noise),
                seed=stretch.seed & (2**64 - 1),
                first_signal=stretch.first_signal,
                temperature=stretch.temperature,
                parameters=address_of(stretch.parameters),
                out=out.data_ptr(),
                threads=threads,
            )
        return None if broken < 0 else broken

    def state(self) -> Any:
        state = torch.empty(self._sampler.state_size(), dtype=torch.float64)
        self._sampler.store_state(state.data_ptr())
        return self._sampler.position(), state

    def load_state(self, state: Any) -> None:
        position, values = state
        values = values.contiguous()
        self._sampler.load_state(values.data_ptr(), position)
