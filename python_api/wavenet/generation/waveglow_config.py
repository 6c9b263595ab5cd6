"""Everything that defines a WaveGlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wavenet.data.mel import MelConfig
from wavenet.errors import is_number, is_whole, of_fields, plain, require_field


@dataclass(frozen=True)
class WaveGlowConfig:
    """The configuration of a `WaveGlow`; it is what config.json holds.

    Attributes:
        sample_rate: of the waveform, in Hz; that of `mel`.
        mel: the description of what it is conditioned on.
        flows: each is an invertible 1x1 and a coupling.
        group: samples of one step; even, a divisor of the hop.
        early_every: before every n-th flow some channels leave as a part of z ...
        early_size: ... so many; even, and 0 for none.
        layers: of each coupling's network, with dilations 1, 2, 4, ..., 2^(layers - 1) steps.
        channels: C of them.
        kernel_size: K, odd.
        upsample_kernel_size: taps of the transposed convolution from frames to samples; None: four
            hops.
        swap_halves: odd flows couple the first half by the second, as NVIDIA's glow_old.py does.
        whiten: the flows work on sound without the spectrum that the mel tells, taken out of so
            many samples at a time, a divisor of the hop, and put back at the end; see
            `wavenet.generation.whitening`. 0: on sound as it is, as the original's.
        sigma: standard deviation of z that the loss assumes.
        reversible: activations are computed anew from a flow's outputs in the backward pass instead
            of being kept: memory doesn't grow with the flows, a step takes a forward longer.
        checkpoint_every: the couplings' stacks keep every n-th layer's input for backward.
        architecture: "waveglow"; tells config.json from others.
    """

    sample_rate: int = 22050
    mel: MelConfig = field(default_factory=MelConfig.tacotron2)
    flows: int = 12
    group: int = 8
    early_every: int = 4
    early_size: int = 2
    layers: int = 8
    channels: int = 256
    kernel_size: int = 3
    upsample_kernel_size: int | None = None
    swap_halves: bool = False
    whiten: int = 0
    sigma: float = 1.0
    reversible: bool = False
    checkpoint_every: int = 1
    architecture: str = "waveglow"

    def __post_init__(self) -> None:
        mel: Any = of_fields(MelConfig, self.mel, "mel")
        object.__setattr__(self, "mel", mel)
        self._require(isinstance(mel, MelConfig), "mel", "a MelConfig")
        if self.upsample_kernel_size is None:
            object.__setattr__(self, "upsample_kernel_size", 4 * self.mel.hop)
        for name in ("flows", "early_every", "layers", "channels", "kernel_size"):
            self._require(is_whole(getattr(self, name), 1), name, "an int from 1")
        self._require(is_whole(self.checkpoint_every, 1), "checkpoint_every", "an int from 1")
        hop, rate = self.mel.hop, self.mel.sample_rate
        self._require(self.sample_rate == rate, "sample_rate", f"{rate} Hz, which is that of mel")
        fits = is_whole(self.group, 2) and self.group % 2 == 0 and hop % self.group == 0
        self._require(fits, "group", f"an even divisor of the hop, {hop}")
        early = is_whole(self.early_size, 0) and self.early_size % 2 == 0
        self._require(early, "early_size", "an even int from 0")
        left = self.channels_of_flow[-1]
        most = f"so small that 2 of {self.group} channels are left after {self.exits} exits"
        self._require(left >= 2, "early_size", most)
        self._require(self.kernel_size % 2 == 1, "kernel_size", "an odd int")
        covers = is_whole(self.upsample_kernel_size, hop)
        self._require(covers, "upsample_kernel_size", f"an int from the hop, {hop}")
        self._require(is_whole(self.whiten, 0), "whiten", "an int from 0")
        whole = not self.whiten or hop % self.whiten == 0
        self._require(whole, "whiten", f"0 or a divisor of the hop, {hop}")
        centred = not self.whiten or self.mel.padding == "reflect"
        self._require(centred, "whiten", "0 where mel's frames are not centred (its padding)")
        object.__setattr__(self, "sigma", plain(self.sigma))
        self._require(is_number(self.sigma) and self.sigma > 0, "sigma", "more than 0")
        for name in ("swap_halves", "reversible"):
            self._require(isinstance(getattr(self, name), bool), name, "true or false")
        self._require(self.architecture == "waveglow", "architecture", "waveglow")

    def _require(self, condition: bool, name: str, accepted: str) -> None:
        require_field(condition, self, name, accepted)

    def exits_before(self, flow: int) -> bool:
        """Whether channels leave before this flow."""
        return flow > 0 and flow % self.early_every == 0

    @property
    def exits(self) -> int:
        """How often channels leave early."""
        return (self.flows - 1) // self.early_every

    @property
    def channels_of_flow(self) -> tuple[int, ...]:
        """Channels that each flow works on."""
        return tuple(
            self.group - self.early_size * (flow // self.early_every) for flow in range(self.flows)
        )

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of a coupling's layers, in steps."""
        return tuple(2**layer for layer in range(self.layers))

    @property
    def hop(self) -> int:
        """Samples of one frame."""
        return self.mel.hop

    @property
    def reach(self) -> int:
        """Steps to either side that a step depends on, through all flows."""
        return self.flows * (self.kernel_size - 1) // 2 * sum(self.dilations)

    @property
    def receptive_field(self) -> int:
        """Samples that one depends on, earlier and later ones."""
        return (2 * self.reach + 1) * self.group + max(0, self.whiten - 1)

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.receptive_field / self.sample_rate
