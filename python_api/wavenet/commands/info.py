"""`wavenet info`: what a saved model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wavenet.commands.common import Run, console, suggest

if TYPE_CHECKING:
    from rich.table import Table

    from wavenet.generation.model import WaveNet
    from wavenet.generation.waveglow import WaveGlow
    from wavenet.networks.amplifier import Amplifier

# Of a generative model's speed.
SAMPLES_TIMED = 1024


def info(run: Run) -> None:
    """What a saved model is: labels or speakers, rate, receptive field, size, how it was trained.

    Of a generative model also what its mel-spectrograms are, and how fast it is here.

    Example: wavenet info runs/mine
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.model import WaveNetClassifier
    from wavenet.classifier.run_folder import best_epoch, headline, read_history
    from wavenet.commands.sounds import suggest_sound
    from wavenet.loading import load_model
    from wavenet.networks.amplifier import Amplifier

    model = load_model(run)
    if isinstance(model, Amplifier):
        return _about_amplifier(run, model)
    if not isinstance(model, WaveNetClassifier):
        table = Table(show_header=False)
        _describe(model, table)
        if best := best_epoch(run):
            table.add_row(
                "trained",
                f"{len(read_history(run))} epochs, best validation "
                f"{best['validation_bits']:.3f} bits in epoch {best['epoch']:.0f}",
            )
        console.print(table)
        suggest_sound(run, model.config)
        return
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    table = Table(show_header=False)
    table.add_row("labels", escape(f"{len(config.labels)}: {', '.join(config.labels)}"))
    rule = config.rule
    if rule.tags:
        table.add_row("output", "tags, each from its own threshold on")
    elif max(rule.least):
        table.add_row("output", f"one class, unknown below {max(rule.least):.1%}")
    table.add_row("sample rate", f"{config.sample_rate} Hz, input {config.input}")
    table.add_row(
        "receptive field", f"{model.receptive_field} samples, {model.receptive_field_ms:.0f} ms"
    )
    table.add_row(
        "residual layers",
        f"{config.stacks} x {config.layers_per_stack}, {config.kernel_size} taps, R, D, S = "
        f"{config.residual_channels}, {config.dilation_channels}, {config.skip_channels}",
    )
    bands = f"{config.filters} bands, " if config.filters else ""
    table.add_row(
        "stem",
        f"{bands}{config.stem_kernel_size} taps, one step every {config.stem_stride} samples",
    )
    table.add_row(
        "head",
        f"{config.frame_ms:g} ms frames, {config.head_layers} convolutions of "
        f"{config.head_channels} channels, {config.pooling} pooling",
    )
    table.add_row("parameters", f"{parameters:,}")
    if best := best_epoch(run):
        table.add_row(
            "trained",
            f"{len(read_history(run))} epochs, best {headline(best)} in epoch {best['epoch']:.0f}",
        )
    console.print(table)
    suggest(
        (["predict", run, "FILE_OR_FOLDER"], "what recordings are"),
        (["export", run, "--out", "exported"], "files that run without this package"),
    )


def _about_amplifier(run: Path, model: Amplifier) -> None:
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("architecture", model.config.architecture)
    table.add_row("sample rate", f"{model.config.sample_rate:g} Hz")
    for number, array in enumerate(model.config.arrays, 1):
        gates = "gated" if array.gated else "no gates"
        table.add_row(
            f"array {number}",
            f"{len(array.dilations)} layers of {array.channels} channels, {array.kernel_size} "
            f"taps, {gates}, dilations {', '.join(map(str, array.dilations))}",
        )
    table.add_row(
        "receptive field", f"{model.receptive_field} samples, {model.receptive_field_ms:.0f} ms"
    )
    table.add_row("parameters", f"{sum(p.numel() for p in model.parameters()):,}")
    console.print(table)
    suggest((["export", run, "--out", "exported"], "a file that the C library plays"))


def _describe(model: WaveNet | WaveGlow, table: Table) -> None:
    """Rows about a generative model."""
    from rich.markup import escape

    from wavenet.generation.model import WaveNet

    config = model.config
    table.add_row("architecture", config.architecture)
    if isinstance(model, WaveNet):
        c = model.config
        table.add_row("distribution", f"{c.distribution}: bits are of {model.bits_counted}")
        named = escape(", ".join(c.speakers)) or (
            f"vectors of {c.speaker_features}" if c.speaker_features else "none"
        )
        table.add_row("speakers", named)
        first = "" if c.layers is None else f"the first {c.layers} of "
        layers = (
            f"{first}{c.stacks} x {c.layers_per_stack}, {c.kernel_size} taps, R, D, S = "
            f"{c.residual_channels}, {c.dilation_channels}, {c.skip_channels}"
        )
        processed = (
            f"pre-emphasis {c.pre_emphasis:g}, gain {c.gain:g}, high-pass {c.high_pass_hz:g} Hz"
        )
        table.add_row("residual layers", layers)
        table.add_row("recordings", processed)
    else:
        g = model.config
        table.add_row(
            "flows",
            f"{g.flows} of {g.layers} x {g.channels}, {g.kernel_size} taps, group {g.group}",
        )
        table.add_row("whitened", f"{g.whiten} samples at a time" if g.whiten else "no")
    table.add_row("sample rate", f"{config.sample_rate} Hz")
    table.add_row(
        "receptive field", f"{model.receptive_field} samples, {model.receptive_field_ms:.0f} ms"
    )
    if mel := config.mel:
        normalised = "not normalised" if mel.mean is None else "normalised by a training set's"
        table.add_row(
            "mel-spectrogram",
            f"{mel.mels} mels, {mel.low_hz:g} to {mel.high_hz:g} Hz, FFT {mel.n_fft}, hop "
            f"{mel.hop}, window {mel.window}, {mel.compression} above {mel.floor:g}, padding "
            f"{mel.padding}, {normalised}",
        )
    elif notes := getattr(config, "notes", None):
        pitches = f"MIDI {notes.lowest} to {notes.highest}"
        table.add_row("notes", f"{pitches}, hop {notes.hop}")
    else:
        table.add_row("mel-spectrogram", "none")
    table.add_row("parameters", f"{sum(p.numel() for p in model.parameters()):,}")
    rate = _samples_a_second(model)
    table.add_row(
        "speed here", f"{rate:,.0f} samples/s, {rate / config.sample_rate:.2f} times real time"
    )


def _samples_a_second(model: WaveNet | WaveGlow) -> float:
    """Of one signal, measured over a moment."""
    import time

    import torch

    from wavenet.generation.model import WaveNet
    from wavenet.generation.recordings import channels_of

    config = model.config
    mel = None
    if channels := channels_of(config):
        mel = torch.zeros(1, channels, -(-SAMPLES_TIMED // config.hop))
    started = time.perf_counter()
    if isinstance(model, WaveNet):
        c = model.config
        who = 0 if c.speakers else torch.zeros(c.speaker_features) if c.speaker_features else None
        made = model.generate(mel, speaker=who, samples=None if channels else SAMPLES_TIMED)
        assert isinstance(made, torch.Tensor)
    else:
        assert mel is not None
        made = model.infer(mel)
    return made.numel() / (time.perf_counter() - started)
