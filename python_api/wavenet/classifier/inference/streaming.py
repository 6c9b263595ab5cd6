"""A classifier that listens: audio in chunks of any sizes in, decisions with times out.

Every part of the network keeps what it still needs of the past and nothing else, so memory does
not grow with the signal, and every sample is computed on once however much windows overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wavenet.classifier.inference.decisions import Decision
from wavenet.classifier.inference.levels import FrameLevels
from wavenet.classifier.inference.weights import folded, require_weights, rounded
from wavenet.classifier.model import WaveNetClassifier, highest_of
from wavenet.errors import DataError, require_seconds
from wavenet.networks.clip_norm import normalize_frames, normalize_level
from wavenet.networks.frames import frame_means
from wavenet.networks.head import FrameHead
from wavenet_kernels.nn import QuantizedStackStream, ResidualStack, StackStream
from wavenet_kernels.quantization import rounded_rows

# Longer chunks are taken in pieces of this, which bounds the buffers of a piece.
PIECE_SECONDS = 0.5


class StreamingClassifier:
    """A `WaveNetClassifier` over an endless signal.

    A decision is made every `hop_seconds` about the last `window_seconds`: the frames of that time
    are pooled and classified. It equals, to rounding, what the same network gives when stem,
    residual stack and head run over the whole signal at once and pooling over that window; with
    `window_seconds=None` windows begin at the start of the signal, and the last decision, that of
    `finish`, is ``model(signal)``. A window cut out and classified alone differs a little: there
    the network hears nothing before the window.

    A model that normalises clips (`clip_norm`) can't do so before it has heard them to their end.
    Its decisions are ``model(window)``, every window heard anew as a clip of its own: at hops
    shorter than windows that is more work, and windows have to have a length.

    The head's convolutions look ahead, so decisions come `delay_seconds` late. One thread at a
    time. The model is not to be trained while it listens.

    Args:
        model: a classifier on any device.
        window_seconds: how much of the past a decision is about, rounded to frames; None: all.
        hop_seconds: time between decisions, rounded to frames.
        weights: "float32": the model's own; "bfloat16": rounded to that; "int8": stack and head in
            8 bits, on a CPU (`wavenet_kernels.quantization`). The last two are a copy.

    Raises:
        DataError: a time that is not above 0, or longer than a day; `window_seconds=None` for a
            model that normalises clips; other weights, or int8 for a model that is not on a CPU.

    Example::

        listener = StreamingClassifier(wavenet.load_model("runs/mine"))
        for chunk in microphone:  # float32 (n,) in [-1, 1] at the model's sample rate
            for decision in listener.push(chunk):
                print(decision.end, decision.label, decision.probability)
    """

    def __init__(
        self,
        model: WaveNetClassifier,
        *,
        window_seconds: float | None = 1.0,
        hop_seconds: float = 0.1,
        weights: str = "float32",
    ) -> None:
        require_weights(weights)
        int8 = weights == "int8"
        device = model.classifier.weight.device
        if int8 and device.type != "cpu":
            raise DataError(f"weights is int8 and the model on {device}; accepted is a CPU")
        model = rounded(folded(model), weights)
        require_seconds(hop_seconds=hop_seconds)
        if window_seconds is not None:
            require_seconds(window_seconds=window_seconds)
        config = model.config
        self.labels = config.labels
        self.rule = config.rule
        self.sample_rate = config.sample_rate
        self._frame_samples = config.frame_samples
        self._window = None if window_seconds is None else self._frames(window_seconds)
        self._hop = self._frames(hop_seconds)
        self._network: ChunkedNetwork | _WholeWindows
        self._pool: _SinceStart | _Window
        if config.clip_norm:
            if self._window is None:
                raise DataError(
                    "window_seconds is None (--window 0); a model with clip_norm hears every "
                    "window anew and accepts a length only"
                )
            self._network = _WholeWindows(model, self._frame_samples, int8)
        else:
            self._network = ChunkedNetwork(model, int8)
        if self._window is None:
            self._pool = _SinceStart(model)
        else:
            self._pool = _Window(self._network.logits, self._window)
        self.reset()

    @property
    def seconds(self) -> float:
        """Audio heard since the start or the last `reset`."""
        return self._samples / self.sample_rate

    @property
    def delay_seconds(self) -> float:
        """How much audio beyond the end of its window a decision waits for."""
        return self._network.lookahead * self._frame_samples / self.sample_rate

    def reset(self) -> None:
        """Forget everything: a new signal starts."""
        self._samples = 0
        self._pooled = 0  # frames
        self._decided = 0  # frames
        self._end: float = math.inf  # samples of the signal, once that is known
        self._network.reset()
        self._pool.reset()
        self._levels = FrameLevels(self._frame_samples, self._window is not None)

    @torch.inference_mode()
    def push(self, waveform: Tensor | NDArray[np.floating]) -> list[Decision]:
        """Hear the next chunk; gives the decisions that it completes, often none.

        Args:
            waveform: floating point (n,), any n, at the model's sample rate.

        Raises:
            DataError: another shape or dtype, or NaN or infinite samples: these would stay in
                the network's memory. Nothing of the chunk has been heard then.
        """
        waveform = torch.as_tensor(waveform)
        if waveform.dim() != 1 or not waveform.is_floating_point():
            raise DataError(
                f"waveform is {waveform.dtype} with shape {tuple(waveform.shape)}; accepted is "
                "floating point (n,)"
            )
        if not waveform.isfinite().all():
            raise DataError("waveform holds NaN or infinite samples; accepted are finite ones")
        decisions = []
        for piece in waveform.split(max(1, round(PIECE_SECONDS * self.sample_rate))):
            self._samples += len(piece)
            self._levels.push(piece)
            decisions += self._decide(self._network.push(piece))
        return decisions

    @torch.inference_mode()
    def finish(self) -> list[Decision]:
        """The signal has ended: the decisions about what is left; then a new one may start."""
        self._end = self._samples
        decisions = self._decide(self._network.finish())
        if self._pooled > self._decided:
            decisions.append(self._decision())
        self.reset()
        return decisions

    def _frames(self, seconds: float) -> int:
        return max(1, round(seconds * self.sample_rate / self._frame_samples))

    def _decide(self, frames: Tensor) -> list[Decision]:
        decisions = []
        while frames.shape[2]:
            part = frames[:, :, : self._decided + self._hop - self._pooled]
            frames = frames[:, :, part.shape[2] :]
            self._pool.push(part)
            self._pooled += part.shape[2]
            if self._pooled == self._decided + self._hop:
                decisions.append(self._decision())
        return decisions

    def _decision(self) -> Decision:
        self._decided = self._pooled
        start = 0 if self._window is None else max(0, self._pooled - self._window)
        logits = self._pool.logits()[0].float().cpu()
        # The signal's last frame may be a short one.
        end = min(self._pooled * self._frame_samples, self._end)
        rate = self.sample_rate
        silent = self._levels.silent(start, self._pooled)
        return Decision(
            start * self._frame_samples / rate, end / rate, logits, self.labels, self.rule, silent
        )


class ChunkedNetwork:
    """From samples to the frames that are pooled."""

    def __init__(self, model: WaveNetClassifier, int8: bool) -> None:
        config = model.config
        self.pooling, self.classifier = model.pooling, model.classifier
        self.events = config.events
        self.nothing = model.classifier.weight.new_zeros(1, config.skip_channels, 0)
        self.stem = _ChunkedStem(model.stem, config.stem_receptive_field, config.stem_stride)
        self.stack = _ChunkedStack(model.stack, int8)
        self.head = _ChunkedHead(model.head, self.nothing, int8)
        self.lookahead = self.head.lookahead

    def reset(self) -> None:
        for part in (self.stem, self.stack, self.head):
            part.reset()

    def push(self, waveform: Tensor) -> Tensor:
        """(n,) -> the frames (1, C, m) that these samples complete."""
        residual = self.stem.push(waveform.to(self.nothing))
        skip = self.stack.push(residual) if residual.shape[2] else self.nothing
        return self.head.push(skip)

    def finish(self) -> Tensor:
        """The frames that were still waiting."""
        return self.head.finish()

    def logits(self, frames: Tensor) -> Tensor:
        """(1, classes) about these frames."""
        if self.events:
            return highest_of(self.classifier(frames.transpose(1, 2)))
        count = torch.tensor([frames.shape[2]], device=frames.device)
        out: Tensor = self.classifier(self.pooling(frames, count))
        return out


class _ChunkedStem:
    """The stem, whose outputs are `stride` samples apart, over chunks."""

    def __init__(self, stem: nn.Module, receptive_field: int, stride: int) -> None:
        self.stem = stem
        self.stride = stride
        # The stem pads its input with zeros; so many of its outputs see them, and are dropped.
        self.dropped = -(-(receptive_field - 1) // stride)
        self.reset()

    def reset(self) -> None:
        self.samples = torch.zeros(self.dropped * self.stride)

    def push(self, waveform: Tensor) -> Tensor:
        """(n,) -> (1, R, the steps that begin in these samples)."""
        samples = torch.cat([self.samples.to(waveform), waveform])
        steps = -(-len(samples) // self.stride) - self.dropped
        out: Tensor = self.stem(samples.unsqueeze(0))
        self.samples = samples[steps * self.stride :]
        return out[:, :, self.dropped :]


class _ChunkedStack:
    """The skip sum of the residual stack, over chunks."""

    def __init__(self, stack: ResidualStack, int8: bool) -> None:
        weights = stack.conv_weight, stack.conv_bias, stack.out_weight, stack.out_bias
        scale = stack.residual_scale
        self.stream: QuantizedStackStream | StackStream
        if int8:
            self.stream = QuantizedStackStream(
                *weights, dilations=stack.dilations, residual_scale=scale
            )
        else:
            self.stream = StackStream(*weights, dilations=stack.dilations, residual_scale=scale)

    def reset(self) -> None:
        self.stream.reset()

    def push(self, x: Tensor) -> Tensor:
        """(1, R, n) -> (1, S, n)."""
        if isinstance(self.stream, QuantizedStackStream):
            return self.stream(x)
        return self.stream(x)[1]


class _ChunkedHead:
    """`FrameHead` over chunks: means over frames, then its convolutions, which look ahead."""

    def __init__(self, head: FrameHead, nothing: Tensor, int8: bool) -> None:
        self.round = rounded_rows if int8 else lambda x: x
        self.size = head.steps_per_frame
        self.convs = [conv for conv in head.convs if isinstance(conv, nn.Conv1d)]
        self.nothing = nothing
        self.reset()

    @property
    def lookahead(self) -> int:
        """Frames that an output sees beyond its own."""
        return sum(conv.kernel_size[0] // 2 for conv in self.convs)

    def reset(self) -> None:
        self.steps = self.nothing
        self.past = [self._beyond(conv) for conv in self.convs]

    def push(self, skip: Tensor) -> Tensor:
        """Steps (1, S, n) -> the frames (1, C, m) that they complete."""
        steps = torch.cat([self.steps, skip], dim=2)
        whole = steps.shape[2] // self.size * self.size
        self.steps = steps[:, :, whole:]
        return self.convolve(self._means(steps[:, :, :whole]))

    def finish(self) -> Tensor:
        """The frames that were still waiting: a short last one, and those that look ahead."""
        return self.convolve(self._means(self.steps), last=True)

    def _means(self, steps: Tensor) -> Tensor:
        """(1, S, n) -> (1, S, frames); the last one may be short."""
        count = torch.tensor([steps.shape[2]], device=steps.device)
        return frame_means(steps.transpose(1, 2), count, self.size).transpose(1, 2)

    def convolve(self, frames: Tensor, last: bool = False) -> Tensor:
        """Means (1, S, n) -> the frames (1, C, m) that they complete."""
        for index, conv in enumerate(self.convs):
            parts = [self.past[index], frames, *([self._beyond(conv)] if last else [])]
            seen = torch.cat(parts, dim=2)
            count = max(0, seen.shape[2] - conv.kernel_size[0] + 1)
            self.past[index] = seen[:, :, count:]
            if count:
                frames = torch.relu(F.conv1d(self.round(seen), conv.weight, conv.bias))
            else:
                frames = seen.new_zeros(1, conv.out_channels, 0)
        return frames

    def _beyond(self, conv: nn.Conv1d) -> Tensor:
        """What every convolution sees beyond the ends of a clip: zeros."""
        return self.nothing.new_zeros(1, conv.in_channels, conv.kernel_size[0] // 2)


class _Window:
    """The last frames, and what follows from them."""

    def __init__(self, logits_of: Callable[[Tensor], Tensor], size: int) -> None:
        self.logits_of = logits_of
        self.size = size

    def reset(self) -> None:
        self.frames: Tensor | None = None

    def push(self, frames: Tensor) -> None:
        if self.frames is not None:
            frames = torch.cat([self.frames, frames], dim=2)
        self.frames = frames[:, :, -self.size :]

    def logits(self) -> Tensor:
        """(1, classes) about the frames so far, at least one."""
        assert self.frames is not None
        return self.logits_of(self.frames)


class _SinceStart:
    """Pooling over all frames since the start, by running sums.

    They are float64: an hour has 360,000 frames, and float32 would lose the last of them.
    """

    def __init__(self, model: WaveNetClassifier) -> None:
        self.pooling, self.classifier = model.pooling, model.classifier
        self.events = model.config.events

    def reset(self) -> None:
        self.sum: Tensor | None = None  # for "max", and of events, the maximum, (1, C)
        self.weight = 0.0
        self.highest = -math.inf  # score, which all weights are relative to

    def push(self, frames: Tensor) -> None:
        self.dtype = frames.dtype
        if self.events:
            best = highest_of(self.classifier(frames.transpose(1, 2)))
            self.sum = best if self.sum is None else torch.maximum(self.sum, best)
            return
        if self.pooling.kind == "max":
            highest = frames.amax(2)
            self.sum = highest if self.sum is None else torch.maximum(self.sum, highest)
            return
        weights = torch.ones_like(frames[:, :1], dtype=torch.float64)
        if self.pooling.score is not None:
            scores = self.pooling.score(frames).double()
            before, self.highest = self.highest, max(self.highest, float(scores.max()))
            weights = (scores - self.highest).exp()
            if self.sum is not None:
                faded = math.exp(before - self.highest)
                self.sum, self.weight = self.sum * faded, self.weight * faded
        summed = (frames.double() * weights).sum(2)
        self.sum = summed if self.sum is None else self.sum + summed
        self.weight += float(weights.sum())

    def logits(self) -> Tensor:
        """(1, classes) about the frames so far, at least one."""
        assert self.sum is not None
        pooled = self.sum
        if self.events:
            return pooled
        if self.pooling.kind != "max":
            pooled = (pooled / self.weight).to(self.dtype)
        out: Tensor = self.classifier(pooled)
        return out


class _WholeWindows:
    """Samples as frames (1, samples of a frame, m): nothing is computed before a window ends."""

    lookahead = 0

    def __init__(self, model: WaveNetClassifier, size: int, int8: bool) -> None:
        self.model = _Int8Model(model) if int8 else model
        self.nothing = model.classifier.weight.new_zeros(0)
        self.size = size
        self.reset()

    def reset(self) -> None:
        self.samples = self.nothing
        self.missing = 0  # of the signal's last frame, beyond its end

    def push(self, waveform: Tensor) -> Tensor:
        samples = torch.cat([self.samples, waveform.to(self.nothing)])
        whole = samples.shape[0] // self.size * self.size
        self.samples = samples[whole:]
        return samples[:whole].view(1, -1, self.size).transpose(1, 2)

    def finish(self) -> Tensor:
        self.missing = -self.samples.shape[0] % self.size
        return self.push(self.nothing.new_zeros(self.missing))

    def logits(self, frames: Tensor) -> Tensor:
        """The model's about these frames, the latest, as a clip of their own."""
        waveform = frames.transpose(1, 2).reshape(1, -1)
        out: Tensor = self.model(waveform[:, : waveform.shape[1] - self.missing])
        return out


class _Int8Model:
    """A model that normalises clips, in 8 bits: (1, T) -> logits (1, classes)."""

    def __init__(self, model: WaveNetClassifier) -> None:
        self.stem, self.network = model.stem, ChunkedNetwork(model, int8=True)
        self.size = model.config.steps_per_frame

    def __call__(self, waveform: Tensor) -> Tensor:
        network = self.network
        network.reset()
        length = torch.tensor([waveform.shape[1]])
        skip = network.stack.push(self.stem(normalize_level(waveform, length)))
        means = frame_means(skip.transpose(1, 2), torch.tensor([skip.shape[2]]), self.size)
        means = means.transpose(1, 2)
        frames = normalize_frames(means, torch.tensor([means.shape[2]]))
        return network.logits(network.head.convolve(frames, last=True))
