"""Everything that defines a generative WaveNet, and what a recording is made into before it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wavenet.data.mel import MelConfig
from wavenet.data.notes import NoteConfig
from wavenet.errors import is_number, is_whole, of_fields, plain, require_field
from wavenet.generation.distributions import (
    EDGES,
    LOG_SCALE_MIN,
    LOWEST,
    Distribution,
    MixtureOfGaussians,
    MixtureOfLogistics,
    Softmax,
)

DISTRIBUTIONS = ("softmax", "logistic", "gaussian")
INPUTS = ("codes", "scalar")
COMPANDINGS = ("none", "mu-law")
MU_LAWS = ("rounded", "truncated")
UPSAMPLINGS = ("none", "repeat", "interpolate", "transposed", "deconvolution")
ACTIVATIONS = ("none", "relu", "leaky_relu")
SKIP_SCALES = (1, "layers")


@dataclass(frozen=True)
class GeneratorConfig:
    """The configuration of a `WaveNet`; it is what config.json holds.

    Fields that are None take what goes with the distribution.

    Attributes:
        sample_rate: of the waveform, in Hz.
        distribution: of a sample: "softmax" over codes, a mixture of "logistic", or "gaussian".
        classes: A, codes of a softmax (None: 256), values of a logistic's sample (None: 65,536).
        mixtures: N of logistics (None: 10) or Gaussians (None: 1).
        edges, log_scale_min, sampling_scale_floor: as of `MixtureOfLogistics`.
        input: how a sample enters: "codes", a row of a table each (softmax only), or "scalar".
        companding: "mu-law" or "none". Of a softmax it says which values the codes have (None:
            mu-law), of other distributions whether the network works on companded samples.
        mu_law: "rounded": the nearest code. "truncated": the code below, as wavenet_vocoder has it.
        mu: of the mu-law; None: classes - 1 of codes, 255 of scalars.
        stem_kernel_size: taps of the convolution before the stack, in samples.
        stem_activation: "none" or "tanh", after it.
        residual_channels, dilation_channels, skip_channels: R, D, S of the residual layers.
        head_channels: of the 1x1 after the skip sum; None: S.
        kernel_size: K, taps of the dilated convolutions.
        layers_per_stack: a stack's dilations are 1, 2, 4, ... 2^(layers_per_stack - 1).
        stacks: how many such stacks follow one another.
        layers: of all of them together, where the last one ends early; None: none does.
        residual_scale: residual = scale * (x + 1x1(z)); the paper's 1, wavenet_vocoder's sqrt(1/2).
        skip_scale: of the skip sum: 1, or "layers" for sqrt(1 / layers).
        mel: the description of the local conditioning by mel-spectrograms, or None.
        notes: the same by note tracks, whose frames then stand wherever a mel is spoken of.
        upsample: from frames to samples: "repeat", "interpolate" (repetition and smoothing, scale
            by scale), "transposed" (convolutions over frames and channels, scale by scale),
            "deconvolution" (one from all channels to all, to the hop), or "none" without frames.
        upsample_scales: their product is the hop.
        upsample_taps: of the deconvolution, in samples; None: four hops.
        upsample_frequency_taps: of the smoothing or transposed convolutions, over mel channels.
        upsample_activation: after each of them: "none", "relu" or "leaky_relu".
        upsample_slope: of "leaky_relu".
        upsample_convolution: a convolution over context_frames on either side comes first.
        context_frames: frames of context at either side of the mel.
        speakers: names; global conditioning by a learned vector for each.
        speaker_channels: the width of that vector.
        speaker_features: the width of vectors that are given instead, say of a speaker encoder.
        pre_emphasis, gain, high_pass_hz: what recordings go through before the network, and, but
            for the high-pass, is undone after generation; 0, 1 and 0 leave them as they are.
        checkpoint_every: the residual stack keeps every n-th layer's input for backward.
        architecture: "wavenet"; tells config.json from a classifier's.
    """

    sample_rate: int = 16000
    distribution: str = "softmax"
    classes: int | None = None
    mixtures: int | None = None
    edges: str = "exact"
    log_scale_min: float = LOG_SCALE_MIN
    sampling_scale_floor: float | None = None
    input: str | None = None
    companding: str | None = None
    mu_law: str = "rounded"
    mu: int | None = None
    stem_kernel_size: int = 1
    stem_activation: str = "none"
    residual_channels: int = 64
    dilation_channels: int = 64
    skip_channels: int = 128
    head_channels: int | None = None
    kernel_size: int = 2
    layers_per_stack: int = 10
    stacks: int = 3
    layers: int | None = None
    residual_scale: float = 1.0
    skip_scale: int | str = 1
    mel: MelConfig | None = None
    notes: NoteConfig | None = None
    upsample: str | None = None
    upsample_scales: tuple[int, ...] = ()
    upsample_taps: int | None = None
    upsample_frequency_taps: int | None = None
    upsample_activation: str = "none"
    upsample_slope: float = 0.01
    upsample_convolution: bool = False
    context_frames: int = 0
    speakers: tuple[str, ...] = ()
    speaker_channels: int = 16
    speaker_features: int = 0
    pre_emphasis: float = 0.0
    gain: float = 1.0
    high_pass_hz: float = 0.0
    checkpoint_every: int = 1
    architecture: str = "wavenet"

    def __post_init__(self) -> None:
        self._fill()
        for name in (
            "sample_rate",
            "stem_kernel_size",
            "residual_channels",
            "dilation_channels",
            "skip_channels",
            "head_channels",
            "kernel_size",
            "layers_per_stack",
            "stacks",
            "speaker_channels",
            "checkpoint_every",
        ):
            self._require(is_whole(getattr(self, name), 1), name, "an int from 1")
        for name in ("context_frames", "speaker_features"):
            self._require(is_whole(getattr(self, name), 0), name, "an int from 0")
        for name, among in (
            ("architecture", ("wavenet",)),
            ("edges", EDGES),
            ("mu_law", MU_LAWS),
            ("stem_activation", ("none", "tanh")),
            ("upsample_activation", ACTIVATIONS),
            ("skip_scale", SKIP_SCALES),
        ):
            self._require(getattr(self, name) in among, name, f"one of {among}")
        nyquist = self.sample_rate / 2
        for name, low, high, accepted in (
            ("pre_emphasis", 0.0, 1.0, "from 0, below 1"),
            ("gain", math.ulp(0.0), math.inf, "more than 0"),
            ("high_pass_hz", 0.0, nyquist, f"from 0, below {nyquist:g} Hz"),
            ("log_scale_min", LOWEST, math.inf, f"from {LOWEST}"),
            ("residual_scale", -math.inf, math.inf, "a number"),
            ("upsample_slope", -math.inf, math.inf, "a number"),
        ):
            value = plain(getattr(self, name))
            self._require(is_number(value) and low <= value < high, name, accepted)
            self._set(name, value)
        kernel = self.upsample_convolution
        self._require(isinstance(kernel, bool), "upsample_convolution", "true or false")
        whole = self.layers_per_stack * self.stacks
        least = whole - self.layers_per_stack + 1
        fits = self.layers is None or (is_whole(self.layers, least) and self.layers <= whole)
        self._require(fits, "layers", f"None or an int from {least} to {whole}")
        self._check_samples()
        self._check_speakers()
        self._check_frames()

    def _fill(self) -> None:
        """What YAML and JSON can't say, and what None stands for."""
        kinds: dict[str, type] = {"mel": MelConfig, "notes": NoteConfig}
        for name, kind in kinds.items():
            self._set(name, of_fields(kind, getattr(self, name), name))
            fits = getattr(self, name) is None or isinstance(getattr(self, name), kind)
            self._require(fits, name, f"None or a {kind.__name__}")
        for name, accepted in (("speakers", "a list of names"), ("upsample_scales", "a list")):
            values: Any = getattr(self, name)
            several = isinstance(values, Iterable) and not isinstance(values, str | Mapping)
            self._require(several, name, accepted)
            self._set(name, tuple(map(str if name == "speakers" else plain, values)))
        self._require(self.distribution in DISTRIBUTIONS, "distribution", f"one of {DISTRIBUTIONS}")
        softmax = self.distribution == "softmax"
        for name, value in (
            ("classes", 256 if softmax else 65536),
            ("mixtures", 10 if self.distribution == "logistic" else 1),
            ("input", "codes" if softmax else "scalar"),
            ("companding", "mu-law" if softmax else "none"),
            ("head_channels", self.skip_channels),
            ("upsample", "interpolate" if self.mel else "repeat" if self.notes else "none"),
            ("upsample_frequency_taps", 3 if self.upsample == "transposed" else 1),
        ):
            if getattr(self, name) is None:
                self._set(name, value)
        if self.mu is None:
            self._set("mu", self.classes - 1 if softmax and self.classes else 255)
        if self.upsample == "deconvolution" and self.upsample_taps is None and self.frame_channels:
            self._set("upsample_taps", 4 * self.hop)
        if not self.upsample_scales and self.upsample not in ("none", "repeat"):
            self._set("upsample_scales", (self.hop,) if self.frame_channels else ())

    def _check_samples(self) -> None:
        self._require(is_whole(self.classes, 2), "classes", "an int from 2")
        self._require(is_whole(self.mixtures, 1), "mixtures", "an int from 1")
        self._require(is_whole(self.mu, 1), "mu", "an int from 1")
        softmax = self.distribution == "softmax"
        allowed = INPUTS if softmax else ("scalar",)
        reason = "" if softmax else f" with {self.distribution}: only a softmax is over codes"
        self._require(self.input in allowed, "input", f"one of {allowed}{reason}")
        self._require(self.companding in COMPANDINGS, "companding", f"one of {COMPANDINGS}")
        _ = self.sample_distribution  # which checks its own fields

    def _check_speakers(self) -> None:
        different = len(set(self.speakers)) == len(self.speakers)
        self._require(different, "speakers", "names that are all different")
        one = not (self.speakers and self.speaker_features)
        self._require(one, "speaker_features", "0 with speakers, which have learned vectors")

    def _check_frames(self) -> None:
        self._require(self.upsample in UPSAMPLINGS, "upsample", f"one of {UPSAMPLINGS}")
        if not self.frame_channels:
            self._require(self.upsample == "none", "upsample", "none without mel")
            self._require(self.context_frames == 0, "context_frames", "0 without mel")
            return
        self._require(not (self.mel and self.notes), "notes", "none with mel")
        same = self.mel is None or self.mel.sample_rate == self.sample_rate
        rate = self.mel.sample_rate if self.mel else 0
        self._require(same, "sample_rate", f"{rate} Hz, which is that of mel")
        kind = "mel" if self.mel else "notes"
        self._require(self.upsample != "none", "upsample", f"one of {UPSAMPLINGS[1:]} with {kind}")
        taps = self.upsample_frequency_taps
        odd = is_whole(taps, 1) and taps is not None and taps % 2 == 1
        self._require(odd, "upsample_frequency_taps", "an odd int from 1")
        if self.upsample == "deconvolution":
            covers = is_whole(self.upsample_taps, self.hop)
            self._require(covers, "upsample_taps", f"an int from the hop, {self.hop}")
            self._require(self.context_frames == 0, "context_frames", "0 with deconvolution")
        if self.upsample != "repeat":
            positive = all(is_whole(scale, 1) for scale in self.upsample_scales)
            fits = positive and math.prod(self.upsample_scales) == self.hop
            accepted = f"ints from 1 whose product is the hop, {self.hop}"
            self._require(fits, "upsample_scales", accepted)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _require(self, condition: bool, name: str, accepted: str) -> None:
        require_field(condition, self, name, accepted)

    @property
    def sample_distribution(self) -> Distribution:
        """What the network's outputs are the parameters of."""
        assert self.classes is not None and self.mixtures is not None
        if self.distribution == "softmax":
            return Softmax(self.classes)
        floors = (self.log_scale_min, self.sampling_scale_floor)
        if self.distribution == "logistic":
            return MixtureOfLogistics(self.mixtures, self.classes, self.edges, *floors)
        return MixtureOfGaussians(self.mixtures, *floors)

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation of each residual layer, in samples."""
        whole = tuple(2**i for i in range(self.layers_per_stack)) * self.stacks
        return whole[: self.layers]

    @property
    def frame_channels(self) -> int:
        """M, rows of the local conditioning's frames; 0 without."""
        return self.mel.mels if self.mel else self.notes.rows if self.notes else 0

    @property
    def hop(self) -> int:
        """Samples of one frame of the local conditioning; 1 without."""
        return self.mel.hop if self.mel else self.notes.hop if self.notes else 1

    @property
    def skip_factor(self) -> float:
        """What the skip sum is multiplied by."""
        return len(self.dilations) ** -0.5 if self.skip_scale == "layers" else 1.0

    @property
    def receptive_field(self) -> int:
        """Earlier samples that the prediction of one sample depends on."""
        return (self.kernel_size - 1) * sum(self.dilations) + self.stem_kernel_size

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.receptive_field / self.sample_rate

    @property
    def conditioned_before_upsampling(self) -> bool:
        """Whether upsampling is linear and alike for all channels, so that 1x1s may go first."""
        linear = self.upsample_activation == "none" and self.upsample_frequency_taps == 1
        return self.upsample == "repeat" or (self.upsample == "interpolate" and linear)
