"""The WaveNet audio classifier: raw waveform in, one logit a class out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wavenet.audio.mulaw import mu_law_encode
from wavenet.classifier.rule import Rule
from wavenet.errors import extra
from wavenet.networks.architecture import Architecture
from wavenet.networks.clip_norm import normalize_level
from wavenet.networks.head import FrameHead, Pooling
from wavenet.networks.lengths import mask
from wavenet.networks.normalization import MaskedBatchNorm
from wavenet.networks.presets import preset
from wavenet.networks.stem import FilterbankStem, make_stem
from wavenet_kernels.nn import ResidualStack

with extra("classifier"):
    from huggingface_hub import PyTorchModelHubMixin


@dataclass(frozen=True)
class WaveNetConfig(Architecture):
    """The configuration of a `WaveNetClassifier`; it is what config.json holds.

    Attributes:
        labels: class names; logit i belongs to labels[i].
        tags, thresholds, background: see `Rule`; training chooses the thresholds.
        events: tags are told frame by frame; of a clip the highest of each counts. A `pooling` by
            attention becomes the mean then: nothing would teach its scores.
    """

    labels: tuple[str, ...] = field(kw_only=True)
    tags: bool = field(default=False, kw_only=True)
    thresholds: tuple[float, ...] = field(default=(), kw_only=True)
    background: str = field(default="", kw_only=True)
    events: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        # JSON and YAML have lists only.
        object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
        object.__setattr__(self, "thresholds", tuple(float(value) for value in self.thresholds))
        least = 1 if self.tags else 2
        if len(self.labels) < least or len(set(self.labels)) != len(self.labels):
            number = "one" if self.tags else "two"
            raise ValueError(
                f"labels is {self.labels}; accepted are {number} or more, all different"
            )
        inside = all(0 <= value <= 1 for value in self.thresholds)
        if len(self.thresholds) not in (0, len(self.labels)) or not inside:
            raise ValueError(
                f"thresholds is {self.thresholds}; accepted are none, or one from 0 to 1 for each "
                "label"
            )
        if self.events and not self.tags:
            raise ValueError("events is true; accepted is that with tags")
        if self.events and self.pooling == "attention":
            object.__setattr__(self, "pooling", "mean")
        if self.background and self.background not in self.labels:
            raise ValueError(f"background is {self.background!r}; accepted is one of the labels")
        super().__post_init__()

    @property
    def frame_samples(self) -> int:
        """Samples of a frame."""
        return self.steps_per_frame * self.stem_stride

    @property
    def frame_seconds(self) -> float:
        """The same in seconds."""
        return self.frame_samples / self.sample_rate

    @property
    def rule(self) -> Rule:
        """Which labels are meant."""
        return Rule(self.labels, self.tags, self.thresholds, self.background)

    @property
    def architecture(self) -> Architecture:
        """What is left without labels."""
        return Architecture(**{f.name: getattr(self, f.name) for f in fields(Architecture)})


class NextSample(NamedTuple):
    """What the second head predicts, and the truth.

    logits (B, 256, N): for each step the mu-law class of the sample after its newest one;
    targets (B, N) int64: those classes, -100 (ignored by cross_entropy) beyond a clip's end.
    """

    logits: Tensor
    targets: Tensor


class NextSampleHead(nn.Module):
    """ReLU, 1x1, ReLU, 1x1 over the skip sum: figure 4 of the WaveNet paper."""

    CLASSES = 256

    def __init__(self, skip_channels: int) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(skip_channels, skip_channels, 1)
        self.logits = nn.Conv1d(skip_channels, self.CLASSES, 1)

    def forward(self, skip: Tensor) -> Tensor:
        out: Tensor = self.logits(torch.relu(self.hidden(torch.relu(skip))))
        return out


class WaveNetClassifier(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="wavenet-kernels",
    tags=["audio-classification", "wavenet"],
    license="mit",
):
    """A WaveNet that classifies clips of any length (arXiv 1609.03499, section 3.4).

    A strided causal stem (a convolution, or a learned filterbank), stacks of gated residual layers
    with dilations 1, 2, 4, ..., their skip sum averaged to frames, non-causal convolutions over the
    frames, pooling over the clip.

    Args:
        config: the architecture, the labels and the sample rate; see `WaveNetConfig`.

    Save with ``model.save_pretrained(folder)`` (model.safetensors, config.json) and load with
    ``WaveNetClassifier.from_pretrained(folder)``; both also speak to the Hugging Face Hub.

    Example::

        model = WaveNetClassifier(WaveNetConfig(labels=("dog", "rain"), sample_rate=16000))
        logits = model(torch.randn(8, 16000))
    """

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = make_stem(config)
        self.stack = ResidualStack(
            config.residual_channels,
            config.dilation_channels,
            config.skip_channels,
            dilations=config.dilations,
            kernel_size=config.kernel_size,
            last_residual=False,
            checkpoint_every=config.checkpoint_every,
        )
        normalised = config.stack_norm != "none"
        self.norm_before = MaskedBatchNorm(config.residual_channels) if normalised else None
        self.norm_after = MaskedBatchNorm(config.skip_channels) if normalised else None
        self.head = FrameHead(config)
        self.pooling = Pooling(config.pooling, self.head.out_channels)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.head.out_channels, len(config.labels))
        self.next_sample = (
            NextSampleHead(config.skip_channels) if config.next_sample_weight > 0 else None
        )

    @property
    def receptive_field(self) -> int:
        """Samples that one output of the residual stack sees."""
        return self.config.receptive_field

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds."""
        return self.config.receptive_field_ms

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits for a batch of clips.

        Args:
            waveform: (B, T) float samples in [-1, 1] at the config's sample rate, zero-padded.
            lengths: (B,) ints from 1 to T, the samples of each clip before padding; None: all T.

        Returns:
            (B, classes). A clip's logits don't depend on its padding.

        Raises:
            ValueError: a waveform that is not (B, T) with T >= 1, or lengths that are not (B,).
        """
        logits, _ = self._classify(*self._prepare_input(waveform, lengths))
        return logits

    def forward_frames(
        self, waveform: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of every frame, by which a model of events is trained.

        Args:
            waveform, lengths: as of `forward`.

        Returns:
            (B, F, classes), and the frames of each clip (B,); what is beyond them means nothing.
        """
        waveform, lengths = self._prepare_input(waveform, lengths)
        frames, frame_lengths, _ = self._frames(waveform, lengths)
        logits: Tensor = self.classifier(self.dropout(frames.transpose(1, 2)))
        return logits, frame_lengths

    def embed(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the last layer goes by: a vector for each clip.

        Near vectors are of sounds that are alike. In eval mode
        ``model.classifier(model.embed(waveform))`` is ``model(waveform)``, but of events.

        Args:
            waveform, lengths: as of `forward`.

        Returns:
            (B, C), C being the config's `head_channels`, or its `skip_channels` without a head.
        """
        pooled, _ = self._pool(*self._prepare_input(waveform, lengths))
        return pooled

    def forward_with_next_sample(
        self, waveform: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, NextSample]:
        """`forward`, and the second head's prediction of the sample that follows each step."""
        if self.next_sample is None:
            raise ValueError("next_sample_weight is 0 in the config: the model has no such head")
        waveform, lengths = self._prepare_input(waveform, lengths)
        logits, skip = self._classify(waveform, lengths)
        # The steps' newest samples are 0, stride, 2 stride, ...
        targets = mu_law_encode(waveform[:, 1 :: self.config.stem_stride], NextSampleHead.CLASSES)
        steps = targets.shape[1]
        following = torch.arange(steps, device=waveform.device) * self.config.stem_stride + 1
        targets = targets.masked_fill(following >= lengths.unsqueeze(1), -100)
        # Cut afterwards: where no step has a next sample, the head still takes part, as data
        # parallel training needs.
        predicted = self.next_sample(skip)[:, :, :steps]
        return logits, NextSample(predicted, targets)

    def _prepare_input(self, waveform: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the network hears, with the lengths of the clips."""
        if waveform.dim() != 2 or waveform.shape[1] < 1:
            raise ValueError(
                f"waveform has shape {tuple(waveform.shape)}; accepted is (B, T) with T from 1"
            )
        batch, time = waveform.shape
        if lengths is None:
            lengths = torch.full((batch,), time, device=waveform.device)
        elif lengths.shape != (batch,):
            raise ValueError(f"lengths has shape {tuple(lengths.shape)}; accepted is ({batch},)")
        if self.config.clip_norm:
            waveform = normalize_level(waveform, lengths)
        return waveform, lengths

    def _classify(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.events:
            frames, frame_lengths, skip = self._frames(waveform, lengths)
            logits = self.classifier(self.dropout(frames.transpose(1, 2)))
            return highest_of(logits, frame_lengths), skip
        pooled, skip = self._pool(waveform, lengths)
        return self.classifier(self.dropout(pooled)), skip

    def _pool(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the last layer sees, and the skip sum."""
        frames, frame_lengths, skip = self._frames(waveform, lengths)
        return self.pooling(frames, frame_lengths), skip

    def _frames(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is pooled, (B, C, F), the frames of each clip, and the skip sum."""
        stride = self.config.stem_stride
        steps = torch.div(lengths + stride - 1, stride, rounding_mode="floor")
        x = self.stem(waveform, lengths)
        if self.norm_before is not None:
            x = self.norm_before(x.unsqueeze(2), steps).squeeze(2)
        _, skip = self.stack(x)
        if self.norm_after is not None:
            skip = self.norm_after(skip.unsqueeze(2), steps).squeeze(2)
        frames, frame_lengths = self.head(skip, steps)
        return frames, frame_lengths, skip

    @torch.no_grad()
    def fold(self) -> None:
        """Make all normalisation part of the weights, as it is in evaluation; it is gone then."""
        if isinstance(self.stem, FilterbankStem):
            self.stem.fold()
            if self.norm_before is not None:
                scale, shift = self.norm_before.affine()
                self.stem.mix.weight.mul_(scale[:, None, None])
                assert self.stem.mix.bias is not None
                self.stem.mix.bias.mul_(scale).add_(shift)
        if self.norm_after is not None:
            scale, shift = self.norm_after.affine()
            skips = slice(self.config.residual_channels, None)
            self.stack.out_weight[:, skips].mul_(scale[:, None])
            assert self.stack.out_bias is not None
            self.stack.out_bias[:, skips].mul_(scale)
            self.stack.out_bias[-1, skips].add_(shift)
        self.norm_before = self.norm_after = None
        self.config = replace(self.config, filter_norm="none", stack_norm="none")


def highest_of(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Of frames' logits (B, F, classes) the highest of each class within lengths (B,)."""
    if lengths is not None:
        inside = mask(lengths, logits.shape[1]).transpose(1, 2)
        logits = logits.masked_fill(~inside, float("-inf"))
    return logits.amax(1)


def create_model(
    name: str, labels: Sequence[str], sample_rate: int = 16000, **overrides: Any
) -> WaveNetClassifier:
    """An untrained classifier of a named architecture.

    Args:
        name: one of `list_models()`.
        labels: class names, two or more.
        sample_rate: of the waveforms it will get, in Hz. Sizes in samples stay what they are: at
            half the rate the receptive field is twice as long.
        overrides: fields of `WaveNetConfig` that differ from the preset's.

    Raises:
        ValueError: no such name, or a field out of range.
        TypeError: no such field.

    Example::

        model = wavenet.create_model("wavenet-small", labels=("dog", "rain"), dropout=0.3)
    """
    fields = {**preset(name), **overrides}
    return WaveNetClassifier(WaveNetConfig(labels=tuple(labels), sample_rate=sample_rate, **fields))
