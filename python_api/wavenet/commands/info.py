"""`wavenet info`: what a saved model is."""

from __future__ import annotations

from wavenet.commands.common import Run, console


def info(run: Run) -> None:
    """What a saved model is: labels, rate, receptive field, size, how it was trained.

    Example: wavenet info runs/mine
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.inference import load_model
    from wavenet.classifier.run_folder import best_epoch, read_history

    model = load_model(run)
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    table = Table(show_header=False)
    table.add_row("labels", escape(f"{len(config.labels)}: {', '.join(config.labels)}"))
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
            f"{len(read_history(run))} epochs, best validation accuracy "
            f"{best['validation_accuracy']:.1%} in epoch {best['epoch']:.0f}",
        )
    console.print(table)
