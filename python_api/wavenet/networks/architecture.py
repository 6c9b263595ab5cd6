"""Everything that defines a network, except for what it is to tell apart."""

from __future__ import annotations

from dataclasses import dataclass

from wavenet.audio.opening import HEADER_RATES

INPUTS = ("raw", "mu-law", "one-hot")
NORMS = ("none", "batch")
MOST_BLOCKS = 64  # of files of the C library, too
POOLINGS = ("mean", "max", "attention")


@dataclass(frozen=True)
class Architecture:
    """A network from waveform to frames and their pooling, for any labels.

    The stack follows van den Oord et al. 2016 (arXiv 1609.03499), the head its section 3.4.

    Attributes:
        sample_rate: of the waveform, in Hz.
        input: how samples in [-1, 1] enter the stem. "raw": as they are; "mu-law": companded to
            [-1, 1], which lifts quiet sounds; "one-hot": as 256 mu-law classes, as in the paper.
        clip_norm: each clip's waveform is brought to one level and its frames, channel by channel,
            to mean 0 and variance 1 over the clip. What is constant in a recording, its level, its
            microphone and part of the voice, is taken out: for speakers and rooms that training did
            not hear. Best with input "raw".
        stem_kernel_size: taps of the causal convolution before the stack, in samples.
        stem_stride: samples between its outputs (steps); > 1 makes everything after it cheaper.
        filters: 0: the stem is a plain convolution. From 1: it is so many pairs of band filters of
            stem_kernel_size taps, on the mel scale at first, whose log energies are mixed into the
            residual channels: what little data do not teach. 64, of 25 to 40 ms, are usual.
        filter_layers: so many convolutions over 3 neighbouring bands and 3 times come between, each
            of which halves both: sounds are known at any pitch. The filters are stem_stride /
            2^filter_layers samples apart.
        filter_channels: of the first of these convolutions; each next one has twice as many.
        filter_blocks: so many residual blocks (arXiv 1512.03385), each of two such convolutions
            that halve nothing, follow each of them: what tells words apart whoever says them. A
            step sees 8 (stem_stride - filter stride) samples more for each.
        filter_norm: "batch": each of these convolutions is followed by a batch normalisation, which
            learns faster and from few clips better. In training a clip is normalised with those it
            is computed with: all clips of a step, in however many processes, or of a part where
            `training.accumulation` or `training.memory_gb` cut it. Padding counts for nothing.
            Afterwards it is part of the convolutions and costs nothing.
        filter_dropout: in training each clip loses two stretches of neighbouring bands, each of up
            to this share of them (SpecAugment, arXiv 1904.08779).
        stack_norm: "batch": what enters the residual layers and their skip sum are normalised in
            the same way, of networks with filters. Such networks learn faster with head_layers 0.
        residual_channels, dilation_channels, skip_channels: R, D, S of the residual layers.
        kernel_size: K, taps of the dilated convolutions.
        layers_per_stack: a stack's dilations are 1, 2, 4, ... 2^(layers_per_stack - 1) steps.
        stacks: how many such stacks follow one another.
        checkpoint_every: the residual stack keeps every n-th layer's input for backward.
        frame_ms: length of the frames that the skip sum is averaged to, in milliseconds.
        head_channels, head_kernel_size, head_layers: the non-causal convolutions over frames.
        pooling: over the frames of a clip: "mean", "max" or "attention".
        dropout: probability, before the logits.
        next_sample_weight: weight of the paper's second loss, predicting the sample after each
            step among 256 mu-law classes; 0 leaves that head out.
    """

    sample_rate: int = 16000
    input: str = "raw"
    clip_norm: bool = False
    stem_kernel_size: int = 2
    stem_stride: int = 1
    filters: int = 0
    filter_layers: int = 0
    filter_channels: int = 16
    filter_blocks: int = 0
    filter_norm: str = "none"
    filter_dropout: float = 0.0
    stack_norm: str = "none"
    residual_channels: int = 64
    dilation_channels: int = 64
    skip_channels: int = 128
    kernel_size: int = 2
    layers_per_stack: int = 10
    stacks: int = 3
    checkpoint_every: int = 1
    frame_ms: float = 10.0
    head_channels: int = 128
    head_kernel_size: int = 3
    head_layers: int = 2
    pooling: str = "mean"
    dropout: float = 0.0
    next_sample_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in (
            "sample_rate",
            "stem_kernel_size",
            "stem_stride",
            "residual_channels",
            "dilation_channels",
            "skip_channels",
            "kernel_size",
            "layers_per_stack",
            "stacks",
            "checkpoint_every",
            "head_channels",
            "head_kernel_size",
            "filter_channels",
        ):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {value!r}; accepted is an int from 1")
        fastest = HEADER_RATES[1]
        if self.sample_rate > fastest:
            raise ValueError(f"sample_rate is {self.sample_rate}; accepted is at most {fastest} Hz")
        if not isinstance(self.head_layers, int) or self.head_layers < 0:
            raise ValueError(f"head_layers is {self.head_layers!r}; accepted is an int from 0")
        if self.head_kernel_size % 2 == 0:
            raise ValueError(
                f"head_kernel_size is {self.head_kernel_size}; accepted is an odd number, because "
                "the head's convolutions are symmetric"
            )
        for name in ("filters", "filter_layers", "filter_blocks"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} is {value!r}; accepted is an int from 0")
        if self.filters and self.input == "one-hot":
            raise ValueError(
                f"filters is {self.filters}; accepted is 0 with input one-hot, because filters "
                "hear a waveform"
            )
        for name in ("filter_layers", "filter_dropout"):
            value = getattr(self, name)
            if value and not self.filters:
                raise ValueError(f"{name} is {value}; accepted is 0 without filters")
        most = MOST_BLOCKS if self.filter_layers else 0
        if self.filter_blocks > most:
            raise ValueError(
                f"filter_blocks is {self.filter_blocks}; accepted is at most {most} with "
                f"{self.filter_layers} filter_layers"
            )
        for name in ("filter_norm", "stack_norm"):
            if getattr(self, name) not in NORMS:
                raise ValueError(f"{name} is {getattr(self, name)!r}; accepted are {NORMS}")
        if self.filter_norm != "none" and not self.filter_layers:
            raise ValueError(
                f"filter_norm is {self.filter_norm!r}; accepted is 'none' without filter_layers"
            )
        if self.stack_norm != "none" and not self.filters:
            raise ValueError(
                f"stack_norm is {self.stack_norm!r}; accepted is 'none' without filters"
            )
        if not 0.0 <= self.filter_dropout < 1.0:
            raise ValueError(
                f"filter_dropout is {self.filter_dropout}; accepted is 0 <= filter_dropout < 1"
            )
        if self.filter_layers > 8 or self.stem_stride % 2**self.filter_layers:
            raise ValueError(
                f"stem_stride is {self.stem_stride}; accepted is a multiple of 2^filter_layers, "
                f"filter_layers being {self.filter_layers}, at most 8"
            )
        if self.stem_kernel_size < self.filter_stride:
            raise ValueError(
                f"stem_kernel_size is {self.stem_kernel_size}; accepted is at least "
                f"{self.filter_stride}, the samples between its outputs, or some would go unseen"
            )
        if not isinstance(self.clip_norm, bool):
            raise ValueError(f"clip_norm is {self.clip_norm!r}; accepted is true or false")
        if self.input not in INPUTS:
            raise ValueError(f"input is {self.input!r}; accepted are {INPUTS}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}; accepted are {POOLINGS}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; accepted is 0 <= dropout < 1")
        if self.frame_ms <= 0.0:
            raise ValueError(f"frame_ms is {self.frame_ms}; accepted is more than 0")
        if self.next_sample_weight < 0.0:
            raise ValueError(f"next_sample_weight is {self.next_sample_weight}; accepted is >= 0")

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation of each residual layer, in steps."""
        return tuple(2**i for i in range(self.layers_per_stack)) * self.stacks

    @property
    def filter_stride(self) -> int:
        """Samples between the outputs of the first convolution."""
        return self.stem_stride // 2**self.filter_layers

    @property
    def stem_receptive_field(self) -> int:
        """Samples that one step sees."""
        each = 2 + 8 * self.filter_blocks
        return self.stem_kernel_size + each * (self.stem_stride - self.filter_stride)

    @property
    def steps_per_frame(self) -> int:
        """Steps averaged into one frame of the head; at least one."""
        return max(1, round(self.sample_rate * self.frame_ms / 1000 / self.stem_stride))

    @property
    def receptive_field(self) -> int:
        """Samples that one output of the residual stack sees."""
        steps = (self.kernel_size - 1) * sum(self.dilations)
        return steps * self.stem_stride + self.stem_receptive_field

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.receptive_field / self.sample_rate
