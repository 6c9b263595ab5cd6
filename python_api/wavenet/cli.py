"""The command line; the longer commands are in wavenet.commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from wavenet import commands
from wavenet.commands.common import (
    FIRST,
    Config,
    Data,
    Device,
    Override,
    Run,
    Split,
    Start,
    console,
    interruptible,
    require_folder,
    run_config,
    say,
    warn,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and use WaveNet audio classifiers.",
)
app.command()(commands.augment_preview)
app.command()(commands.check_data)
app.command()(commands.cross_validate)
app.command()(commands.demo_app)
app.command()(commands.export)
app.command()(commands.report)
app.command()(commands.stream)
app.command()(commands.timeline)


def main() -> None:
    """Run the command line; what is wrong with the user's input is said in one sentence."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        if FIRST:
            console = Console(stderr=True)
            line = f"error: {_said(error)}"
            console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


def _said(error: Exception) -> str:
    """The error's sentence; the system's errors as `file: what is wrong`, without their number."""
    if isinstance(error, OSError) and error.strerror:
        named = "" if error.filename is None else f"{error.filename}: "
        return f"{named}{error.strerror}"
    return str(error)


def _expected() -> tuple[type[Exception], ...]:
    """The errors that are about the user's input or machine; others are ours, with a traceback."""
    # Imported when needed: `wavenet --help` should not wait for torch.
    from safetensors import SafetensorError

    from wavenet.data import DataError
    from wavenet.inference import ModelError
    from wavenet.training import ConfigError, TrainingError
    from wavenet_kernels import BackendUnavailableError

    ours = (DataError, ModelError, ConfigError, TrainingError)
    return (*ours, BackendUnavailableError, OSError, SafetensorError)


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="Where the data set goes.")],
    clips_per_class: Annotated[int, typer.Option(help="Clips of each of the ten classes.")] = 300,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 1.0,
    sample_rate: Annotated[int, typer.Option(help="In Hz.")] = 8000,
    seed: Annotated[int, typer.Option(help="Another seed gives other recordings.")] = 0,
) -> None:
    """Make a data set of ten synthesised environmental sounds, reproducible by seed.

    Example: wavenet synth sounds/ --clips-per-class 500
    """
    from wavenet.data.synth import write_data_set

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("synthesising")
        manifest = write_data_set(
            folder,
            clips_per_class=clips_per_class,
            seconds=seconds,
            sample_rate=sample_rate,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    say(f"wrote {manifest}, {clips_per_class} clips a class")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The run folder: model, checkpoints, logs.")],
    data: Annotated[
        Path | None, typer.Option(help="A folder with a sub-folder per class, or a CSV manifest.")
    ] = None,
    config: Config = None,
    override: Override = None,
    start: Start = None,
    leave_out_group: Annotated[
        str | None, typer.Option(help="Train on all clips but this group's (speaker, say).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")
    ] = False,
) -> None:
    """Train a classifier on labelled recordings.

    Example: wavenet train --config configs/demo.yaml --data recordings/ --out runs/mine

    Single fields are set with --set training.epochs=50 or the like; the resolved configuration,
    with every field there is, lies in the run folder as train.yaml.

    A run that was interrupted goes on with: wavenet train --out runs/mine --resume

    Fine-tuning, with the architecture and rate of the trained model:
    wavenet train --from runs/mine --data others/ --out runs/tuned --set training.learning_rate=5e-4

    On several GPUs: torchrun --nproc-per-node 4 -m wavenet train ... (training.batch_size is that
    of all of them together).
    """
    from wavenet.training import train as run_training
    from wavenet.training.loop import CONFIG_NAME

    overrides = list(override or [])
    if leave_out_group is not None:
        overrides.append(f"data.leave_out_group={json.dumps(leave_out_group)}")
    saved = out / CONFIG_NAME
    if resume and config is None and saved.exists():
        config = saved
    settings = run_config(config, overrides, data, start)
    with interruptible(f"wavenet train --out {out} --resume"):
        result = run_training(settings, out, resume=resume, console=console)
    say(
        f"best validation accuracy {result.accuracy:.1%} after {result.epochs} epochs; "
        f"the model is in {result.run}"
    )


@app.command()
def evaluate(
    run: Run,
    data: Data = None,
    split: Split = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for metrics.json and confusion_matrix.png.")
    ] = None,
    snr: Annotated[
        str | None,
        typer.Option(
            help="Also with white noise at these signal-to-noise ratios in dB; writes "
            "noise_curve.json and noise_curve.png."
        ),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Accuracy, macro-F1, per-class table and confusion matrix on labelled recordings.

    Clips longer than the run's data.max_seconds are cropped at their centre, as in its validation;
    `wavenet predict` hears recordings whole.

    Example: wavenet evaluate runs/mine --split test --snr 20,10,5,0
    """
    from wavenet.files import replace_file
    from wavenet.inference import confusion_picture, load_model
    from wavenet.inference import evaluate as evaluate_model
    from wavenet.inference.noise_curve import noise_curve, parse_snrs
    from wavenet.training import ConfigError
    from wavenet.training.evaluation import clips_to_evaluate

    snrs = parse_snrs(snr) if snr is not None else []
    folder = out or run
    require_folder(folder)
    model = load_model(run, device)
    if out is None and not run.is_dir():
        raise ConfigError(f"{run} is not a folder to write results into; give --out")
    chosen = clips_to_evaluate(run, model.config, data, split)
    settings = (model, chosen.clips, chosen.cache)
    if snrs:
        curve = noise_curve(*settings, snrs, max_samples=chosen.max_samples)
        metrics = curve.clean
    else:
        metrics = evaluate_model(*settings, max_samples=chosen.max_samples)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"data": chosen.source, "split": chosen.split, **metrics.as_dict()}
    replace_file(folder / "metrics.json", json.dumps(content, indent=1))
    replace_file(folder / "confusion_matrix.png", confusion_picture(metrics))

    if snrs:
        content = {"data": chosen.source, "split": chosen.split, **curve.as_dict()}
        replace_file(folder / "noise_curve.json", json.dumps(content, indent=1))
        replace_file(folder / "noise_curve.png", curve.picture())

    table = Table("class", "precision", "recall", "F1", "clips")
    for row in metrics.per_class:
        figures = (f"{row[name]:.3f}" for name in ("precision", "recall", "f1"))
        table.add_row(escape(row["label"]), *figures, str(row["support"]))
    console.print(table)
    for reason in chosen.skipped:
        say(f"skipped: {reason}")
    say(
        f"{chosen.split}: accuracy {metrics.accuracy:.2%}, macro-F1 {metrics.macro_f1:.4f}, "
        f"loss {metrics.loss:.4f} on {metrics.clips} clips; "
        f"metrics.json and confusion_matrix.png are in {folder}"
    )
    if snrs:
        for level, noisy in curve.noisy.items():
            say(f"white noise at {level:g} dB: accuracy {noisy.accuracy:.2%}")
        say(f"noise_curve.json and noise_curve.png are in {folder}")


@app.command()
def predict(
    run: Run,
    recordings: Annotated[list[Path], typer.Argument(help="Files or folders.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    device: Device = "cpu",
) -> None:
    """Name the likeliest classes of recordings.

    Example: wavenet predict runs/mine new.wav folder/ --top 5 --json
    """
    from wavenet.inference import find_recordings, load_model
    from wavenet.inference import predict as classify

    paths = find_recordings(recordings)
    model = load_model(run, device)
    failed = 0
    table = Table("recording", *(f"{i + 1}." for i in range(min(top, len(model.config.labels)))))
    for prediction in classify(model, paths, top):
        failed += bool(prediction.error)
        if as_json:
            content: dict[str, object] = {"path": str(prediction.path)}
            if prediction.error:
                content["error"] = prediction.error
            else:
                content["top"] = [
                    {"label": label, "probability": probability}
                    for label, probability in prediction.top
                ]
            print(json.dumps(content, ensure_ascii=False), flush=True)
        elif prediction.error:
            table.add_row(escape(str(prediction.path)), escape(prediction.error))
        else:
            cells = (f"{label} {probability:.1%}" for label, probability in prediction.top)
            table.add_row(escape(str(prediction.path)), *map(escape, cells))
    if not as_json:
        console.print(table)
    if failed:
        warn(f"{failed} of {len(paths)} recordings could not be read")
        raise typer.Exit(1)


@app.command()
def info(run: Run) -> None:
    """What a saved model is: labels, rate, receptive field, size, how it was trained.

    Example: wavenet info runs/mine
    """
    from wavenet.inference import load_model
    from wavenet.training.log import ranking, read_history

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
    table.add_row(
        "stem", f"{config.stem_kernel_size} taps, one step every {config.stem_stride} samples"
    )
    table.add_row(
        "head",
        f"{config.frame_ms:g} ms frames, {config.head_layers} convolutions of "
        f"{config.head_channels} channels, {config.pooling} pooling",
    )
    table.add_row("parameters", f"{parameters:,}")
    if history := read_history(run):
        best = ranking(history)[0]
        table.add_row(
            "trained",
            f"{len(history)} epochs, best validation accuracy "
            f"{best['validation_accuracy']:.1%} in epoch {best['epoch']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
