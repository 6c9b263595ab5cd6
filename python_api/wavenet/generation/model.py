"""The generative WaveNet: what it says of each sample, how likely a recording is, new sound."""

# Annotations are what they say: the mixin makes a configuration of that of __init__.
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.errors import extra, require_tensor
from wavenet.generation.conditioning import Conditioning, Speaker
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.samples import first_value, scalars_of, values_of
from wavenet_kernels.nn import ResidualStack
from wavenet_kernels.sampling import SampleNetwork

if TYPE_CHECKING:
    from wavenet.generation.generate import Generated

with extra("classifier"):
    from huggingface_hub import PyTorchModelHubMixin

FIRST_LOG_SCALE = -2.0  # of full scale 1
Bits = TypeVar("Bits", float, Tensor)


class SampleStem(nn.Module):
    """From samples to residual channels: rows of a table by code, or a scalar times a column.

    values (B, taps - 1 + T): codes int64 or scalars, oldest first -> (B, R, T).
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        taps, residual = config.stem_kernel_size, config.residual_channels
        rows = config.classes if config.input == "codes" else 1
        assert rows is not None
        # Of unit variance: of T samples in [-1, 1], or of one row a tap.
        self.weight = nn.Parameter(torch.empty(taps, rows, residual))
        self.bias = nn.Parameter(torch.zeros(residual))
        nn.init.normal_(self.weight, std=taps**-0.5)

    def forward(self, values: Tensor) -> Tensor:
        taps = self.weight.shape[0]
        time = values.shape[1] - taps + 1
        if self.config.input == "codes":
            each = (F.embedding(values[:, k : k + time], w) for k, w in enumerate(self.weight))
            rows = sum(each, start=self.bias)
        else:
            if not values.is_floating_point():
                values = scalars_of(values, self.config)
            windows = values.to(self.weight.dtype).unfold(1, taps, 1)
            rows = F.linear(windows, self.weight[:, 0].T, self.bias)
        if self.config.stem_activation == "tanh":
            rows = rows.tanh()
        return rows.transpose(1, 2)


class WaveNet(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="wavenet-kernels",
    tags=["text-to-speech", "wavenet", "vocoder"],
    license="mit",
):
    """A WaveNet that predicts each sample from those before it (arXiv 1609.03499), and makes sound.

    A table or column for the last sample, stacks of gated residual layers with dilations 1, 2, 4,
    ..., ReLU, 1x1, ReLU and 1x1 over their skip sum, to the parameters of a distribution of the
    next sample. Frames, of mels or notes, and speakers are added to the layers' gates.

    Args:
        config: sizes, distribution, conditioning; see `GeneratorConfig`.

    Save with ``model.save_pretrained(folder)`` (model.safetensors, config.json) and load with
    ``WaveNet.from_pretrained(folder)``; both also speak to the Hugging Face Hub.

    Example::

        model = WaveNet(GeneratorConfig(sample_rate=8000, speakers=("george", "jackson")))
        loss = model.loss(waveform, speaker="george")
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.distribution = config.sample_distribution
        self._first = first_value(config)
        self.stem = SampleStem(config)
        self.stack = ResidualStack(
            config.residual_channels,
            config.dilation_channels,
            config.skip_channels,
            dilations=config.dilations,
            kernel_size=config.kernel_size,
            residual_scale=config.residual_scale,
            last_residual=False,
            checkpoint_every=config.checkpoint_every,
        )
        self.conditioning = Conditioning(config)
        assert config.head_channels is not None
        self.hidden = nn.Linear(config.skip_channels, config.head_channels)
        self.output = nn.Linear(config.head_channels, self.distribution.channels)
        if config.distribution == "logistic":
            # As wide as sound, not as full scale, from which Adam takes thousands of steps: it
            # moves a bias by its rate in each. A Gaussian would pay for means that are far off.
            with torch.no_grad():
                self.output.bias[-self.output.out_features // 3 :] += FIRST_LOG_SCALE

    @property
    def receptive_field(self) -> int:
        """Earlier samples that the prediction of one sample depends on."""
        return self.config.receptive_field

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds."""
        return self.config.receptive_field_ms

    def forward(
        self, waveform: Tensor, mel: Tensor | None = None, speaker: Speaker | None = None
    ) -> Tensor:
        """What the network says of every sample, having seen those before it.

        Args:
            waveform: (B, T) floats in [-1, 1], or int64 codes for a softmax. It is what the network
                works on: with gain and pre-emphasis, if the configuration has them.
            mel: (B, M, F), F hop = T, where the model is conditioned on mel-spectrograms, or on
                notes, whose frames they are then (`wavenet.data.notes`); context frames are copies
                of the first and last. (B, M, F + 2 context_frames) has its own.
            speaker: a name or id for all, or one for each signal; of a model of speaker_features
                vectors (B, speaker_features) or (speaker_features,).

        Returns:
            (B, P, T) parameters of the model's `distribution`: position t is about sample t, and
            depends on samples before t alone.

        Raises:
            ValueError: an argument that doesn't fit.
        """
        return self._say(values_of(waveform, self.config), mel, speaker)

    def loss(
        self,
        waveform: Tensor,
        mel: Tensor | None = None,
        speaker: Speaker | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Negative log-likelihood in nats, the mean over all samples before the clips' ends.

        Args:
            waveform, mel, speaker: as of `forward`.
            lengths: (B,) ints from 0 to T, samples of each clip before padding; None: all T.

        Returns:
            A scalar in float32 (float64 of a float64 model).
        """
        each, mask = self._nll(waveform, mel, speaker, lengths)
        # Of one type with the mask: what is masked may be of any size.
        return each.masked_fill(~mask, 0.0).sum() / mask.sum().clamp_min(1)

    def nll(
        self, waveform: Tensor, mel: Tensor | None = None, speaker: Speaker | None = None
    ) -> Tensor:
        """Negative log-likelihood in nats of every sample: (B, T); arguments as of `forward`."""
        each, _ = self._nll(waveform, mel, speaker, None)
        return each

    def bits_per_sample(
        self,
        waveform: Tensor,
        mel: Tensor | None = None,
        speaker: Speaker | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Bits that a sample takes, the mean of each clip: (B,); `bits_counted` says of what."""
        each, mask = self._nll(waveform, mel, speaker, lengths)
        return self.bits_of(each.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp_min(1))

    def bits_of(self, loss: Bits) -> Bits:
        """The bits of a sample whose loss is so many nats."""
        bits = loss / math.log(2.0)
        if self.config.distribution == "gaussian":
            # A density: of 2^15 steps a unit, and of the signal before the gain.
            bits = bits + 15.0 - math.log2(self.config.gain)
        return bits

    @property
    def bits_counted(self) -> str:
        """What `bits_per_sample` are the bits of."""
        config = self.config
        if config.distribution == "softmax":
            return f"a code of {config.classes}"
        companded = "companded " if config.companding == "mu-law" else ""
        if config.distribution == "logistic":
            return f"one of {config.classes} values of a {companded}sample"
        return f"a 16-bit {companded}sample, from the density at its middle"

    def generate(
        self,
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
    ) -> "Tensor | Generated":
        """Sound, drawn sample by sample.

        The same seed on the same machine gives the same bits, whatever the batch. A model of the
        truth is sampled at temperature 1; a lower one is cleaner and duller.

        Args:
            mel: (B, M, F) frames, which make F hop samples; without one, `seconds` or `samples` say
                how long.
            speaker: as of `forward`.
            count: B, where no tensor and no list of speakers says it.
            seed, first_signal: signal b is number first_signal + b of the seed.
            temperature: divides logits and multiplies scales.
            prime: (B, n) what was heard before the first sample; without mel. It is not returned.
            noise: (B, 4, T) uniform numbers instead of the seed's.
            forced: (B, T) fed back instead of what is drawn, which is returned still.
            return_parameters: return `Generated`, sound and the parameters (B, P, T).
            dtype: that the loop computes in, float32 or float64.

        Returns:
            (B, T) in [-1, 1] at the model's rate, without its pre-emphasis and gain.

        Raises:
            ValueError: an argument that doesn't fit, before anything is computed.
            FloatingPointError: parameters that are not finite.
        """
        from wavenet.generation.generate import generate

        return generate(
            self,
            mel,
            speaker=speaker,
            seconds=seconds,
            samples=samples,
            count=count,
            seed=seed,
            first_signal=first_signal,
            temperature=temperature,
            prime=prime,
            noise=noise,
            forced=forced,
            return_parameters=return_parameters,
            dtype=dtype,
        )

    def stream(
        self,
        mel_chunks: Iterable[Tensor] | None = None,
        *,
        speaker: Speaker | None = None,
        count: int | None = None,
        seed: int = 0,
        first_signal: int = 0,
        temperature: float = 1.0,
        chunk: int = 256,
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[Tensor]:
        """Sound as it is made, in constant memory: what `generate` makes, bit for bit.

        Args:
            mel_chunks: (B, M, n) frames of consecutive stretches, of any n; where the model looks
                at later frames, sound is that much behind. Without them it goes on for ever.
            count: B, where no chunk and no list of speakers says it.
            chunk: samples at a time, without mel; else they are the hop.
            speaker, seed, first_signal, temperature, dtype: as of `generate`.

        Yields:
            (B, n) samples.
        """
        from wavenet.generation.generate import stream

        return stream(
            self,
            mel_chunks,
            speaker=speaker,
            count=count,
            seed=seed,
            first_signal=first_signal,
            temperature=temperature,
            chunk=chunk,
            dtype=dtype,
        )

    def sample_network(self, dtype: torch.dtype = torch.float32) -> SampleNetwork:
        """The weights as the sampling loop takes them."""
        config, stack = self.config, self.stack
        weight = self.stem.weight.to(dtype)
        if config.distribution == "softmax" and config.input == "scalar":
            assert config.classes is not None
            codes = torch.arange(config.classes, device=weight.device)
            weight = scalars_of(codes, config).to(weight.dtype)[None, :, None] * weight
        return SampleNetwork(
            input_weight=weight,
            input_bias=self.stem.bias,
            conv_weight=stack.conv_weight,
            conv_bias=stack.conv_bias,
            out_weight=stack.out_weight,
            out_bias=stack.out_bias,
            hidden_weight=self.hidden.weight,
            hidden_bias=self.hidden.bias,
            output_weight=self.output.weight,
            output_bias=self.output.bias,
            dilations=config.dilations,
            draw=config.distribution,
            first=self._first,
            residual_scale=config.residual_scale,
            skip_scale=config.skip_factor,
            input_tanh=config.stem_activation == "tanh",
            scale_floor=config.sampling_scale_floor,
        ).to(dtype)

    def _say(self, values: Tensor, mel: Tensor | None, speaker: Speaker | None) -> Tensor:
        batch, time = values.shape
        conditioning = self.conditioning
        mel = conditioning.prepare_mel(mel, batch, time)
        cond = conditioning(mel, conditioning.prepare_speaker(speaker, batch, values.device))
        before = self.config.stem_kernel_size
        seen = F.pad(values, (before, 0), value=self._first)[:, :-1]
        _, skip = self.stack(self.stem(seen), cond)
        rows = (self.config.skip_factor * skip).transpose(1, 2)
        out: Tensor = self.output(self.hidden(rows.relu()).relu())
        return out.transpose(1, 2)

    def _nll(
        self,
        waveform: Tensor,
        mel: Tensor | None,
        speaker: Speaker | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Of every sample, and whether it counts: both (B, T)."""
        values = values_of(waveform, self.config)
        batch, time = values.shape
        if lengths is not None:
            _check_lengths(lengths, batch, time)
        each = self.distribution.nll(self._say(values, mel, speaker), values)
        t = torch.arange(time, device=values.device).expand(batch, time)
        mask = t < time if lengths is None else t < lengths.to(values.device)[:, None]
        return each, mask


def _check_lengths(lengths: Tensor, batch: int, time: int) -> None:
    accepted = f"({batch},) of ints from 0 to {time}"
    require_tensor("lengths", lengths, accepted)
    if lengths.shape != (batch,):
        raise ValueError(f"lengths has shape {tuple(lengths.shape)}; accepted is {accepted}")
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths is {lengths.dtype}; accepted is {accepted}")
    if not torch.compiler.is_compiling() and batch:
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > time:
            raise ValueError(f"lengths holds {low} to {high}; accepted is {accepted}")
