"""`wavenet report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import Data, Run, Split, progress, require_file, say, suggest


def report(
    run: Run,
    data: Data = None,
    split: Split = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; default: report.html in the run folder.")
    ] = None,
    snr: Annotated[
        str, typer.Option(help="Ratios of the noise curve in dB; an empty text: no curve.")
    ] = "20,10,5,0",
    mistakes: Annotated[int, typer.Option(min=0, help="How many mistakes to show.")] = 12,
) -> None:
    """Write a report of a run: one HTML file that needs no network.

    It shows the data, the training curves, the confusion matrix, precision, recall and F1 of each
    class, how far probabilities can be believed, accuracy against noise, the worst mistakes with
    their waveforms and an audio player, the model's size and speed.

    Example: wavenet report runs/mine --out mine.html
    """
    from wavenet.classifier.inference import load_model
    from wavenet.classifier.inference.evaluate import choose_clips
    from wavenet.classifier.inference.noise_curve import parse_snrs
    from wavenet.classifier.report import make_report
    from wavenet.classifier.run_folder import REPORT_NAME
    from wavenet.files import replace_file

    snrs = parse_snrs(snr) if snr else []
    model = load_model(run)
    target = out or run / REPORT_NAME
    require_file(target)
    chosen = choose_clips(run, model.config, data, split)
    with progress("evaluating") as evaluated:
        page = make_report(
            run,
            model,
            chosen,
            snrs_db=snrs,
            mistakes=mistakes,
            progress=evaluated,
        )
    replace_file(target, page)
    say(f"wrote {target}, which a browser opens")
    suggest(
        (["demo-app", run], "try it in a browser, with a microphone"),
        (["export", run, "--out", "exported"], "files that run without this package"),
    )
