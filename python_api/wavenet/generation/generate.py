"""New sound from a model: the sampling loop between conditioning and the finished waveform."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wavenet.audio.filters import DeEmphasis
from wavenet.errors import is_number, is_whole, plain, require_tensor
from wavenet.generation.conditioning import Speaker
from wavenet.generation.distributions import check_temperature
from wavenet.generation.frames import ConditioningFrames, with_context
from wavenet.generation.model import WaveNet
from wavenet.generation.samples import expand, values_of
from wavenet_kernels.sampling import Sampler, check_noise

PIECE = 256  # samples at a time, so that Ctrl-C is heard soon


class Generated(NamedTuple):
    """Sound (B, T), and what the network said of each sample, (B, P, T)."""

    audio: Tensor
    parameters: Tensor


class Loop:
    """A model's signals from their start on: conditioning in, finished sound out, piece by piece.

    Args:
        model: whose weights are copied.
        batch: B.
        speaker: as of `WaveNet.forward`.
        seed, first_signal, temperature: as of `Sampler.run`.
        dtype: that all is computed in, float32 or float64.
    """

    def __init__(
        self,
        model: WaveNet,
        batch: int,
        *,
        speaker: Speaker | None = None,
        seed: int = 0,
        first_signal: int = 0,
        temperature: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_temperature(temperature)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype is {dtype}; accepted are torch.float32 and torch.float64")
        self.config, self.dtype, self.batch = model.config, dtype, batch
        self.settings: dict[str, Any] = {
            "seed": seed,
            "first_signal": first_signal,
            "temperature": temperature,
        }
        self.device = model.stem.weight.device
        conditioning = copy.deepcopy(model.conditioning).to(dtype).requires_grad_(False)
        ids = conditioning.prepare_speaker(speaker, batch, self.device)
        self.sampler = Sampler(model.sample_network(dtype), batch=batch)
        self.frames: ConditioningFrames | None = None
        self.everywhere: Tensor | None = None
        if model.config.frame_channels:
            self.frames = ConditioningFrames(conditioning, ids)
        elif ids is not None:
            self.everywhere = conditioning.each_speaker_of(ids)
        self._undo = DeEmphasis(model.config.pre_emphasis, batch)

    def run(
        self,
        n: int,
        cond: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        forced: Tensor | None = None,
        parameters: Tensor | None = None,
    ) -> Tensor:
        """The next n samples (B, n), finished; arguments as of `Sampler.run`."""
        values = self.sampler.run(
            n,
            self.everywhere if cond is None else cond,
            noise=noise,
            forced=forced,
            parameters=parameters,
            **self.settings,
        )
        return self.finish(values)

    def finish(self, values: Tensor) -> Tensor:
        """Codes or companded samples -> sound in [-1, 1], without pre-emphasis and gain."""
        config = self.config
        audio = expand(values, config).to(self.dtype)
        if config.pre_emphasis:
            audio = self._undo(audio)
        return (audio / config.gain).clamp(-1.0, 1.0)


def generate(
    model: WaveNet,
    mel: Tensor | None = None,
    *,
    speaker: Speaker | None = None,
    seconds: float | None = None,
    samples: int | None = None,
    count: int | None = None,
    seed: int = 0,
    first_signal: int = 0,
    temperature: float = 1.0,
    prime: Tensor | None = None,
    noise: Tensor | None = None,
    forced: Tensor | None = None,
    return_parameters: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor | Generated:
    """Sound, drawn sample by sample; `WaveNet.generate` describes the arguments."""
    given = {"mel": mel, "prime": prime, "noise": noise, "forced": forced}
    counts = [count, *_batches(given)]
    known = any(one is not None for one in counts)
    batch = _same("count", counts if known else [model.conditioning.signals_of(speaker)])
    total = _length(model, mel, seconds, samples, noise, forced)
    if prime is not None and mel is not None:
        raise ValueError("prime is given with mel; accepted is forced over the whole, or no mel")
    mel = model.conditioning.prepare_mel(mel, batch, total if mel is not None else None)
    if noise is not None:
        check_noise(noise, (batch, 4, total))
    values = None if forced is None else _values(forced, model, (batch, total), "forced")
    loop = Loop(
        model,
        batch,
        speaker=speaker,
        seed=seed,
        first_signal=first_signal,
        temperature=temperature,
        dtype=dtype,
    )
    if prime is not None:
        heard = _values(prime, model, (batch, prime.shape[1]), "prime")
        for at in range(0, heard.shape[1], PIECE):
            piece = heard[:, at : at + PIECE]
            loop.sampler.run(piece.shape[1], loop.everywhere, forced=piece, **loop.settings)
    audio = torch.empty(batch, total, dtype=dtype, device=loop.device)
    said = None
    if return_parameters:
        said = audio.new_empty(batch, model.distribution.channels, total)
    at = 0
    for length, cond in _pieces(loop, mel, total):
        here = slice(at, at + length)
        audio[:, here] = loop.run(
            length,
            cond,
            noise=None if noise is None else noise[:, :, here],
            forced=None if values is None else values[:, here],
            parameters=None if said is None else said[:, :, here],
        )
        at += length
    return audio if said is None else Generated(audio, said)


def stream(
    model: WaveNet,
    mel_chunks: Iterable[Tensor] | None = None,
    *,
    speaker: Speaker | None = None,
    count: int | None = None,
    seed: int = 0,
    first_signal: int = 0,
    temperature: float = 1.0,
    chunk: int = PIECE,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """Sound as it is made; `WaveNet.stream` describes the arguments."""
    options: dict[str, Any] = {"speaker": speaker, "dtype": dtype, "temperature": temperature}
    options |= {"seed": seed, "first_signal": first_signal}
    if mel_chunks is None:
        chunk = plain(chunk)
        if not is_whole(chunk, 1):
            raise ValueError(f"chunk is {chunk!r}; accepted is an int from 1")
        signals = _same(
            "count", [model.conditioning.signals_of(speaker) if count is None else count]
        )
        model.conditioning.prepare_mel(None, signals, None)
        loop = Loop(model, signals, **options)
        while True:
            yield loop.run(chunk)
    if not model.config.frame_channels:
        raise ValueError("mel_chunks is given; this model has no local conditioning")
    config, started = model.config, None
    for frames, last in with_context(iter(mel_chunks), config.context_frames):
        mels = config.frame_channels
        if started is None and frames.shape[1] == mels:
            started = Loop(model, _same("count", [count, len(frames)]), **options)
        batch = count or len(frames) if started is None else started.batch
        if started is None or frames.shape[:2] != (batch, mels):
            shape = tuple(frames.shape[:2])
            raise ValueError(
                f"a chunk of mel_chunks has shape ({shape[0]}, {shape[1]}, n); accepted is "
                f"({batch}, {mels}, n)"
            )
        if not frames.is_floating_point() or not torch.isfinite(frames).all():
            raise ValueError("a chunk of mel_chunks holds values that aren't finite numbers")
        assert started.frames is not None
        for cond in started.frames.push(frames.to(started.device, dtype), last):
            yield started.run(config.hop, cond)


def _pieces(loop: Loop, mel: Tensor | None, total: int) -> Iterator[tuple[int, Tensor | None]]:
    """Lengths of what is made at a time, and their conditioning."""
    if mel is None:
        for at in range(0, total, PIECE):
            yield min(PIECE, total - at), None
        return
    assert loop.frames is not None
    for cond in loop.frames.push(mel.to(loop.device, loop.dtype), last=True):
        yield loop.config.hop, cond


def _length(
    model: WaveNet,
    mel: Tensor | None,
    seconds: float | None,
    samples: int | None,
    noise: Tensor | None,
    forced: Tensor | None,
) -> int:
    """How many samples are asked for."""
    seconds = plain(seconds)
    if seconds is not None and not (is_number(seconds) and seconds > 0):
        raise ValueError(f"seconds is {seconds!r}; accepted is more than 0")
    lengths = [samples, None if seconds is None else round(seconds * model.config.sample_rate)]
    lengths += [tensor.shape[-1] for tensor in (noise, forced) if tensor is not None]
    known = [length for length in lengths if length is not None]
    if mel is not None and not known:
        return int(mel.shape[2]) * model.config.hop
    if not known and not model.config.frame_channels:
        raise ValueError("seconds is missing; accepted is seconds or samples, how long to make")
    if not known:
        return 0  # of which the missing mel is complained
    return _same("samples", known)


def _same(name: str, numbers: Sequence[int | None]) -> int:
    """The number that all of them ask for; 1 if none does."""
    known: list[int] = [plain(number) for number in numbers if number is not None] or [1]
    for number in known:
        if not is_whole(number, 1):
            raise ValueError(f"{name} is {number!r}; accepted is an int from 1")
    if len(asked := sorted(set(known))) > 1:
        raise ValueError(f"{name}: the arguments ask for {asked}; accepted is one number")
    return known[0]


# Of tensors that `generate` is given: of which dimensions they are.
_SHAPES = {"mel": "(B, M, F)", "prime": "(B, n)", "noise": "(B, 4, T)", "forced": "(B, T)"}


def _batches(tensors: Mapping[str, Tensor | None]) -> Iterator[int]:
    """B of each one that is given, whose dimensions are checked."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        accepted = _SHAPES[name]
        require_tensor(name, tensor, accepted)
        if tensor.dim() != 1 + accepted.count(","):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; accepted is {accepted}")
        yield len(tensor)


def _values(waveform: Tensor, model: WaveNet, shape: tuple[int, int], name: str) -> Tensor:
    """What the network hears of a waveform, checked."""
    try:
        values = values_of(waveform, model.config)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if values.shape != shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; accepted is {shape}")
    return values
