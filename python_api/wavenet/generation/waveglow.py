"""WaveGlow: sound from mel-spectrograms by an invertible network, all samples at once."""

# Annotations are what they say: the mixin makes a configuration of that of __init__.
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from wavenet.errors import (
    DataError,
    extra,
    is_number,
    is_whole,
    plain,
    require_finite,
    require_floats,
    require_tensor,
)
from wavenet.generation.flow import WN, Flow, InvertibleConv1x1
from wavenet.generation.reversible import ReversibleFlows, run
from wavenet.generation.waveglow_config import WaveGlowConfig
from wavenet.generation.whitening import Whitening, colour, whiten
from wavenet_kernels.sampling import normal_of, uniforms

with extra("classifier"):
    from huggingface_hub import PyTorchModelHubMixin

Bits = TypeVar("Bits", float, Tensor)


class WaveGlow(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="wavenet-kernels",
    tags=["text-to-speech", "waveglow", "vocoder"],
    license="mit",
):
    """A flow between sound and noise, conditioned on mel-spectrograms (arXiv 1811.00002).

    Samples are taken in groups of eight as channels; every flow mixes them by an invertible 1x1 and
    scales and shifts half of them by what a WaveNet-like stack makes of the other half and the
    mel. Forward it gives the likelihood of sound, backward sound of noise.

    Args:
        config: sizes and the description of the mel; see `WaveGlowConfig`.

    Save with ``model.save_pretrained(folder)`` (model.safetensors, config.json) and load with
    ``WaveGlow.from_pretrained(folder)``; `from_checkpoint` reads NVIDIA's files.

    Example::

        model = WaveGlow.from_checkpoint("waveglow_256channels.pt")
        audio = model.infer(mel, sigma=0.6, seed=0, denoise=0.1)
    """

    def __init__(self, config: WaveGlowConfig) -> None:
        super().__init__()
        self.config = config
        mels = config.mel.mels
        assert config.upsample_kernel_size is not None
        self.whitening = Whitening(config.mel, config.whiten) if config.whiten else None
        self.upsample = nn.ConvTranspose1d(mels, mels, config.upsample_kernel_size, config.hop)
        self.flows = nn.ModuleList(
            Flow(
                InvertibleConv1x1(channels),
                WN(
                    channels // 2,
                    mels * config.group,
                    config.channels,
                    dilations=config.dilations,
                    kernel_size=config.kernel_size,
                    checkpoint_every=config.checkpoint_every,
                ),
                by_second_half=config.swap_halves and number % 2 == 1,
            )
            for number, channels in enumerate(config.channels_of_flow)
        )

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], **options: Any) -> "WaveGlow":
        """NVIDIA's file, see `wavenet.convert.load_checkpoint`.

        Raises:
            ModelError: it can't be read, or holds another model.
        """
        from wavenet.convert import load_checkpoint
        from wavenet.errors import ModelError

        model = load_checkpoint(path, **options)
        if not isinstance(model, WaveGlow):
            raise ModelError(f"{path}: holds a {type(model).__name__}; accepted is a WaveGlow")
        return model

    @property
    def receptive_field(self) -> int:
        """Samples that one depends on, earlier and later ones."""
        return self.config.receptive_field

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds."""
        return self.config.receptive_field_ms

    def forward(self, waveform: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The noise that sound is made of, and how much it was stretched.

        Args:
            waveform: (B, T) floats in [-1, 1]; T is a multiple of the group of 8.
            mel: (B, M, F) frames that reach as far as the waveform.

        Returns:
            z (B, 8, T/8), what left early first; and log |det| (B,) of the whole map, so that
            log p(waveform) = log p(z) + log |det|.

        Raises:
            DataError: an argument that doesn't fit.
        """
        group = self.config.group
        batch, time = self._check_waveform(waveform)
        self._check_mel(mel, batch)
        condition = self._condition(mel, time)
        wide = self._width(waveform)
        sound, whitened = waveform.to(wide), waveform.new_zeros(batch, dtype=wide)
        if self.whitening is not None:
            roots = self.whitening.roots(mel, time // self.whitening.block)
            sound, whitened = whiten(sound, roots.to(wide))
        rows = sound.view(batch, time // group, group)
        flows, sizes = self._flows(), self._sizes()
        if self.config.reversible and torch.is_grad_enabled():
            parameters = [p for flow in flows for p in flow.parameters()]
            z, log_determinant = ReversibleFlows.apply(flows, sizes, rows, condition, *parameters)
        else:
            z, log_determinant = run(flows, sizes, rows, condition)
        turned = sum(flow.convolution.log_determinant() for flow in flows)
        return z.transpose(1, 2), log_determinant + whitened + time // group * turned

    def loss(self, waveform: Tensor, mel: Tensor) -> Tensor:
        """Negative log-likelihood of a sample in nats, without its constants, as the original's.

        The likelihood itself is this + ln sigma + ln(2 pi) / 2; `bits_per_sample` has them.
        """
        return self.losses(waveform, mel).mean()

    def losses(self, waveform: Tensor, mel: Tensor) -> Tensor:
        """The same of each signal: (B,)."""
        z, log_determinant = self(waveform, mel)
        energy = z.square().sum((1, 2)) / (2 * self.config.sigma**2)
        losses: Tensor = (energy - log_determinant) / waveform.shape[1]
        return losses

    def bits_per_sample(self, waveform: Tensor, mel: Tensor) -> Tensor:
        """Bits that a 16-bit sample takes, from the density at its middle: of each signal, (B,)."""
        return self.bits_of(self.losses(waveform, mel))

    def bits_of(self, loss: Bits) -> Bits:
        """The bits of a sample whose loss is so many nats."""
        constant = math.log(self.config.sigma) + math.log(2 * math.pi) / 2
        return (loss + constant) / math.log(2) + 15

    @property
    def bits_counted(self) -> str:
        """What `bits_per_sample` are the bits of."""
        return "a 16-bit sample, from the density at its middle"

    @torch.no_grad()
    def infer(
        self,
        mel: Tensor,
        *,
        sigma: float = 0.6,
        seed: int = 0,
        first_signal: int = 0,
        z: Tensor | None = None,
        denoise: float = 0.0,
    ) -> Tensor:
        """Sound of mel-spectrograms.

        Args:
            mel: (B, M, F), of the model's `config.mel`.
            sigma: standard deviation of the noise; smaller is cleaner and duller.
            seed, first_signal: signal b is number first_signal + b of the seed.
            z: (B, 8, F hop / 8) noise instead of the seed's, taken as it is: what `forward` gives.
            denoise: how much of the model's constant sound is taken away, 0.1 say; 0: nothing.

        Returns:
            (B, F hop) at the model's rate; a few samples may be beyond [-1, 1].

        Raises:
            DataError: an argument that doesn't fit.
        """
        batch, _, frames = self._check_mel(mel)
        steps = frames * self.config.hop // self.config.group
        if denoise:
            from wavenet.generation.denoise import require_strength

            require_strength(denoise, steps * self.config.group)
        if z is None:
            z = self._noise(batch, 0, steps, sigma, seed, first_signal, mel)
        audio = self.sound(mel, self._check_z(z, batch, steps))
        if denoise:
            from wavenet.generation.denoise import constant_sound
            from wavenet.generation.denoise import denoise as without

            audio = without(audio, constant_sound(self), denoise)
        return audio

    @torch.no_grad()
    def stream(
        self,
        mel_chunks: Iterable[Tensor],
        *,
        sigma: float = 0.6,
        seed: int = 0,
        first_signal: int = 0,
        z: Tensor | None = None,
        frames: int = 128,
    ) -> Iterator[Tensor]:
        """Sound while frames come: what `infer` makes of all of them, in constant memory.

        A stretch is computed with what it depends on at either side, so that sound is `reach`
        behind the frames, and a stretch of `frames` costs those of both sides, too.

        Args:
            mel_chunks: (B, M, n) frames of consecutive stretches, of any n.
            sigma, seed, first_signal, z: as of `infer`; z is of the whole.
            frames: that are waited for before the next stretch is computed.

        Yields:
            (B, n) samples.
        """
        from wavenet.generation.stretches import stretches

        frames = plain(frames)
        if not is_whole(frames, 1):
            raise DataError(f"frames is {frames!r}; accepted is an int from 1")
        group, hop = self.config.group, self.config.hop
        for stretch in stretches(self, mel_chunks, frames):
            self._check_mel(stretch.mel)
            first, last = stretch.first * hop // group, stretch.last * hop // group
            if z is None:
                window = self._noise(
                    stretch.mel.shape[0],
                    first,
                    last - first,
                    sigma,
                    seed,
                    first_signal,
                    stretch.mel,
                )
            else:
                window = z[:, :, first:last]
            window = self._check_z(window, stretch.mel.shape[0], last - first)
            audio = self.sound(stretch.mel, window)
            yield audio[
                :, (stretch.begin - stretch.first) * hop : (stretch.end - stretch.first) * hop
            ]

    def _flows(self) -> list[Flow]:
        return [flow for flow in self.flows if isinstance(flow, Flow)]

    def _sizes(self) -> list[int]:
        """Channels that leave before each flow."""
        config = self.config
        return [config.early_size * config.exits_before(k) for k in range(config.flows)]

    def _condition(self, mel: Tensor, time: int) -> Tensor:
        """Frames as rows of samples in groups: (B, T/8, 8 M), channel m 8 + j of sample 8 i + j."""
        group, mels = self.config.group, self.config.mel.mels
        samples = self.upsample(mel.to(self.upsample.weight.dtype))
        if samples.shape[2] < time:
            frames = mel.shape[2]
            raise DataError(
                f"mel has {frames} frames, which reach over {samples.shape[2]} samples; the "
                f"waveform has {time}"
            )
        steps = samples[:, :, :time].unflatten(2, (time // group, group))
        rows: Tensor = steps.permute(0, 2, 1, 3).reshape(mel.shape[0], time // group, mels * group)
        return rows

    def sound(self, mel: Tensor, z: Tensor, inverted: list[Tensor] | None = None) -> Tensor:
        """`infer` of given noise, without its checks; with the 1x1s' inverses, if there already."""
        time = mel.shape[2] * self.config.hop
        condition = self._condition(mel, time)
        noise = z.to(self._width(z)).transpose(1, 2)
        flows, sizes = self._flows(), self._sizes()
        left = sum(sizes)
        rows = noise[:, :, left:]
        for number, size in reversed(list(enumerate(sizes))):
            given = None if inverted is None else inverted[number]
            rows = flows[number].inverse(rows, condition, given)
            if size:
                left -= size
                rows = torch.cat((noise[:, :, left : left + size], rows), dim=2)
        audio = rows.reshape(mel.shape[0], time)
        if self.whitening is not None:
            audio = colour(audio, self.whitening.roots(mel).to(audio))
        return audio

    def _noise(
        self, batch: int, start: int, steps: int, sigma: float, seed: int, first: int, like: Tensor
    ) -> Tensor:
        sigma = plain(sigma)
        if not (is_number(sigma) and sigma >= 0):
            raise DataError(f"sigma is {sigma!r}; accepted is 0 or more")
        group = self.config.group
        wide = self._width(like)
        samples = normal_of(
            uniforms(
                seed,
                steps * group,
                batch=batch,
                start=start * group,
                first_signal=first,
                device=like.device,
            )
        )
        return (sigma * samples.to(wide)).view(batch, steps, group).transpose(1, 2)

    def _check_waveform(self, waveform: Tensor) -> tuple[int, int]:
        group = self.config.group
        require_tensor("waveform", waveform, "(B, T) of floats")
        if waveform.dim() != 2 or not waveform.is_floating_point():
            shape = f"{waveform.dtype} of shape {tuple(waveform.shape)}"
            raise DataError(f"waveform is {shape}; accepted are floats (B, T)")
        batch, time = waveform.shape
        if time == 0 or time % group:
            raise DataError(
                f"waveform has {time} samples; accepted is a multiple of the group of {group}"
            )
        if self.config.whiten and time % self.config.whiten:
            accepted = f"a multiple of the {self.config.whiten} that are whitened at a time"
            raise DataError(f"waveform has {time} samples; accepted is {accepted}")
        require_finite("waveform", waveform)
        return batch, time

    def _check_mel(self, mel: Tensor, batch: int | None = None) -> tuple[int, int, int]:
        mels = self.config.mel.mels
        require_tensor("mel", mel, f"({batch or 'B'}, {mels}, F) of floats")
        fits = mel.dim() == 3 and mel.shape[1] == mels and mel.shape[2] > 0
        if not fits or (batch is not None and mel.shape[0] != batch):
            accepted = f"({batch or 'B'}, {mels}, F) with F from 1"
            raise DataError(f"mel has shape {tuple(mel.shape)}; accepted is {accepted}")
        require_floats("mel", mel)
        return mel.shape[0], mels, mel.shape[2]

    def _check_z(self, z: Tensor, batch: int, steps: int) -> Tensor:
        accepted = (batch, self.config.group, steps)
        require_tensor("z", z, f"{accepted} of floats")
        if z.shape != accepted:
            raise DataError(f"z has shape {tuple(z.shape)}; accepted is {accepted}")
        require_floats("z", z)
        return z

    def _width(self, tensor: Tensor) -> torch.dtype:
        """Of what passes the flows, which is sound: that of the weights, float32 at least."""
        weights = self.upsample.weight.dtype
        return torch.promote_types(torch.promote_types(tensor.dtype, weights), torch.float32)
