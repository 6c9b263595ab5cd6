"""What a network is told beside the samples: frames and speakers, to its layers' gates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.errors import plain, require_finite, require_floats, require_tensor
from wavenet.generation.config import GeneratorConfig
from wavenet_kernels import dilated_conv1d

Speaker = str | int | Sequence[str] | Sequence[int] | Tensor


class MelUpsample(nn.Module):
    """From frames to samples: (B, C, F) -> (B, C, F hop), alike for channels but the last way.

    "repeat" repeats frames. "interpolate" does so scale by scale, each time followed by a smoothing
    convolution of 2 scale + 1 taps over time; "transposed" has a transposed convolution with a
    kernel and stride of the scale instead (wavenet_vocoder's newest and first network).
    "deconvolution" is one transposed convolution from all channels to all, whose last samples are
    cut (nv-wavenet's). Frames that aren't there are zeros.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.kind = config.upsample
        self.scales = (config.hop,) if self.kind == "repeat" else config.upsample_scales
        self.activation, self.slope = config.upsample_activation, config.upsample_slope
        taps = config.upsample_frequency_taps
        assert taps is not None
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        if self.kind == "interpolate":
            for scale in self.scales:
                width = 2 * scale + 1
                self.weights.append(torch.full((1, 1, taps, width), 1.0 / (taps * width)))
        if self.kind == "deconvolution":
            assert config.upsample_taps is not None
            mels = config.frame_channels
            self.weights.append(torch.empty(mels, mels, config.upsample_taps))
            self.biases.append(torch.zeros(mels))
            nn.init.normal_(self.weights[0], std=(mels * config.upsample_taps / config.hop) ** -0.5)
        if self.kind == "transposed":
            for scale in self.scales:
                self.weights.append(torch.full((1, 1, taps, scale), 1.0 / taps))
                self.biases.append(torch.zeros(1))

    @property
    def halo(self) -> tuple[int, int]:
        """Frames before and after a frame that its samples depend on."""
        if self.kind == "deconvolution":
            return (self.weights[0].shape[2] - 1) // self.scales[0], 0
        if self.kind != "interpolate":
            return 0, 0
        reach, rate = 0.0, 1
        for scale in self.scales:
            reach += 1.0 / rate  # `scale` steps at `rate * scale` steps a frame
            rate *= scale
        around = math.ceil(reach - 1e-9)
        return around, around

    def forward(self, frames: Tensor) -> Tensor:
        if self.kind == "repeat":
            return frames.repeat_interleave(self.scales[0], dim=2)
        if self.kind == "deconvolution":
            (hop,) = self.scales
            made = F.conv_transpose1d(frames, self.weights[0], self.biases[0], stride=hop)
            return made[:, :, : frames.shape[2] * hop]
        x = frames.unsqueeze(1)
        for stage, scale in enumerate(self.scales):
            weight = self.weights[stage]
            around = weight.shape[2] // 2
            if self.kind == "interpolate" and around == 0:
                x = _smoothed(x, weight.flatten())
            elif self.kind == "interpolate":
                x = F.conv2d(x.repeat_interleave(scale, dim=3), weight, padding=(around, scale))
            else:
                bias = self.biases[stage]
                x = F.conv_transpose2d(x, weight, bias, stride=(1, scale), padding=(around, 0))
            if self.activation == "relu":
                x = x.relu()
            elif self.activation == "leaky_relu":
                x = F.leaky_relu(x, self.slope)
        return x.squeeze(1)


def _smoothed(frames: Tensor, taps: Tensor) -> Tensor:
    """Frames (..., F) repeated `scale` times and convolved with 2 scale + 1 taps: (..., F scale).

    A sample lies in reach of three frames, so three sums of taps are all that it takes. One product
    and sum after another: the bits do not depend on how many frames there are.
    """
    scale = len(taps) // 2
    k, p = (
        torch.arange(len(taps), device=taps.device),
        torch.arange(scale, device=taps.device)[:, None],
    )
    frame = torch.div(p - scale + k, scale, rounding_mode="floor")  # -1, 0 or 1 of each tap
    before, own, after = (torch.where(frame == n, taps, 0).sum(1) for n in (-1, 0, 1))
    padded = F.pad(frames, (1, 1)).unsqueeze(-1)
    made = padded[..., :-2, :] * before + padded[..., 1:-1, :] * own + padded[..., 2:, :] * after
    return made.flatten(-2)


class Conditioning(nn.Module):
    """The 1x1s of all layers, stacked, over mel samples and speakers: -> (B, L 2D, T or 1).

    Where upsampling is linear and alike for all channels, the 1x1s may be applied to the frames:
    the same numbers for a fraction of the work, as the sampling loop has it (`ConditioningFrames`).
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        outputs = len(config.dilations) * 2 * config.dilation_channels
        self.local: nn.Conv1d | None = None
        self.upsample: MelUpsample | None = None
        self.frames: nn.Conv1d | None = None
        self.embedding: nn.Embedding | None = None
        self.vector: nn.Linear | None = None
        if mels := config.frame_channels:
            self.local = nn.Conv1d(mels, outputs, 1, bias=False)
            self.upsample = MelUpsample(config)
            nn.init.normal_(self.local.weight, std=mels**-0.5)
            if config.upsample_convolution:
                width = 2 * config.context_frames + 1
                self.frames = nn.Conv1d(mels, mels, width, bias=False)
                nn.init.zeros_(self.frames.weight)  # begins as the frame itself
                nn.init.dirac_(self.frames.weight)
        width = config.speaker_channels if config.speakers else config.speaker_features
        if width:
            self.vector = nn.Linear(width, outputs, bias=False)
            nn.init.normal_(self.vector.weight, std=width**-0.5)
        if config.speakers:
            self.embedding = nn.Embedding(len(config.speakers), config.speaker_channels)
            nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, mel: Tensor | None, speaker: Tensor | None) -> Tensor | None:
        """The stack's `cond` of what `prepare_mel` and `prepare_speaker` made."""
        local = None if mel is None else self.local_of(mel)
        if speaker is None:
            return local
        everywhere = self.speaker_of(speaker)
        return everywhere if local is None else local + everywhere

    def speaker_of(self, speaker: Tensor) -> Tensor:
        """Ids (B,) or vectors (B, G) -> (B, L 2D, 1)."""
        assert self.vector is not None
        vectors = speaker if self.embedding is None else self.embedding(speaker)
        out: Tensor = self.vector(vectors)
        return out.unsqueeze(2)

    def each_speaker_of(self, speaker: Tensor) -> Tensor:
        """The same, of one signal after another: the bits do not depend on the others."""
        return torch.cat([self.speaker_of(one) for one in speaker.split(1)])

    def local_of(self, mel: Tensor) -> Tensor:
        """Frames with context (B, M, F + 2 context_frames) -> (B, L 2D, F hop)."""
        assert self.local is not None and self.upsample is not None
        config = self.config
        context = config.context_frames
        if self.frames is not None:
            mel, context = self.frames(mel), 0
        if config.upsample == "repeat":
            conditioned = self.upsample(self.local(mel))
        else:  # smoothing few channels and one product is faster than smoothing those of all layers
            # As rows in large pages, by kernels that on CPUs are faster here than a plain product.
            conditioned = dilated_conv1d(self.upsample(mel), self.local.weight)
        cut = context * config.hop
        out: Tensor = conditioned[:, :, cut : conditioned.shape[2] - cut]
        return out

    def prepare_mel(self, mel: Tensor | None, batch: int, samples: int | None) -> Tensor | None:
        """With context frames on either side, checked: (B, M, F + 2 context_frames).

        Raises:
            ValueError: a mel that doesn't fit, or one that is missing or of no use.
        """
        config = self.config
        mels = config.frame_channels
        if not mels or mel is None:
            if mel is not None:
                raise ValueError("mel is given; this model has no local conditioning")
            if mels:
                kind = "mel-spectrograms" if config.mel else "frames of notes"
                raise ValueError(
                    f"mel is missing; this model is conditioned on {kind} (B, {mels}, F)"
                )
            return None
        context, hop = config.context_frames, config.hop
        require_tensor("mel", mel, f"({batch}, {mels}, F)")
        shape = tuple(mel.shape)
        if samples is not None and samples % hop:
            raise ValueError(
                f"waveform has {samples} samples; accepted with mel is a multiple of the hop, {hop}"
            )
        frames = None if samples is None else samples // hop
        accepted = f"({batch}, {mels}, {frames or 'F'})"
        if not frames:
            accepted += " with F from 1"
        elif context:
            accepted += f", or {frames + 2 * context} frames with their context"
        if mel.dim() != 3 or shape[:2] != (batch, mels) or shape[2] < 1:
            raise ValueError(f"mel has shape {shape}; accepted is {accepted}")
        require_floats("mel", mel)
        assert self.local is not None
        mel = mel.to(self.local.weight.dtype)
        if frames is not None and shape[2] == frames + 2 * context:
            return mel
        if frames is not None and shape[2] != frames:
            raise ValueError(f"mel has shape {shape}; accepted is {accepted}")
        return F.pad(mel, (context, context), mode="replicate") if context else mel

    def prepare_speaker(
        self, speaker: Speaker | None, batch: int, device: torch.device
    ) -> Tensor | None:
        """Ids (B,) int64 of names and ids, or vectors (B, G), checked.

        Raises:
            ValueError: nobody of that name or number, or what doesn't fit.
        """
        config = self.config
        if self.vector is None:
            if speaker is not None:
                raise ValueError("speaker is given; this model has no speakers")
            return None
        if config.speakers:
            return self._ids(speaker, batch, device)
        width = config.speaker_features
        if not isinstance(speaker, Tensor) or speaker.shape not in ((width,), (batch, width)):
            came = f"a {type(speaker).__name__}"
            if isinstance(speaker, Tensor):
                came = str(tuple(speaker.shape))
            elif isinstance(speaker, str | int | None):
                came = repr(speaker)
            raise ValueError(
                f"speaker is {came}; accepted is a tensor ({batch}, {width}) or ({width},)"
            )
        require_finite("speaker", speaker)
        return speaker.to(device, self.vector.weight.dtype).expand(batch, width)

    def signals_of(self, speaker: Speaker | None) -> int | None:
        """For how many signals it is; None: it doesn't tell."""
        if self.config.speaker_features:
            several = isinstance(speaker, Tensor) and speaker.dim() == 2
            return len(speaker) if several else None  # type: ignore[arg-type]
        if speaker is None or isinstance(speaker, Iterator):
            return None
        return len(_each_of(speaker)) or None

    def _ids(self, speaker: Speaker | None, batch: int, device: torch.device) -> Tensor:
        names = self.config.speakers
        known = f"accepted are {', '.join(names)}, or 0 to {len(names) - 1}"
        if speaker is None:
            raise ValueError(f"speaker is missing; {known}")
        if isinstance(speaker, Tensor):
            if speaker.is_floating_point():
                raise ValueError(f"speaker is {speaker.dtype}; {known}")
            if torch.compiler.is_compiling():  # what it holds nobody knows yet
                return speaker.flatten().long().to(device).expand(batch)
        ids = []
        for one in _each_of(speaker):
            if isinstance(one, str) and one in names:
                ids.append(names.index(one))
            elif _is_id(one) and 0 <= one < len(names):
                ids.append(int(one))
            else:
                raise ValueError(f"speaker is {one!r}; {known}")
        if len(ids) == 1:
            ids *= batch
        if len(ids) != batch:
            raise ValueError(
                f"speaker names {len(ids)}; accepted is one, or one for each of {batch}"
            )
        return torch.tensor(ids, device=device)


def _each_of(speaker: Any) -> list[Any]:
    """Names and numbers, of one of them, a list, an array or a tensor."""
    if hasattr(speaker, "tolist"):
        return list(speaker.flatten().tolist())
    alone = isinstance(speaker, str) or not isinstance(speaker, Iterable)
    return [speaker] if alone else [plain(one) for one in speaker]


def _is_id(one: Any) -> bool:
    return isinstance(one, int) and not isinstance(one, bool)
