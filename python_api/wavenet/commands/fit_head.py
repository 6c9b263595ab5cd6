"""`wavenet fit-head`: new classes from few clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import Device, Run, require_folder, say, suggest


def fit_head(
    run: Run,
    data: Annotated[
        Path, typer.Option(help="A folder with a sub-folder per class, or a CSV manifest.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the new model; any command takes it.")],
    neighbours: Annotated[
        int, typer.Option(min=1, help="How many of the nearest clips vote, for comparison.")
    ] = 5,
    max_seconds: Annotated[
        float, typer.Option(min=0.0, help="Longer clips are cropped at their centre; 0: never.")
    ] = 10.0,
    device: Device = "cpu",
) -> None:
    """Teach a trained model other classes, in seconds: ten clips of each are enough to try.

    Only the last layer is fitted, to all clips but those of a test split. Accuracies are
    cross-validated over them, by whole groups where there are any; that of the nearest neighbours
    says what the embeddings are worth without a layer. With more clips, `wavenet train --from`
    trains all of the network.

    Example: wavenet fit-head runs/mine --data few/ --out runs/few
    """
    from wavenet.classifier.data import (
        AudioCache,
        DataConfig,
        PreparedData,
        Splits,
        check_clips,
        find_clips,
        labels_of,
    )
    from wavenet.classifier.few_shot import fit_head as fit
    from wavenet.classifier.inference import load_model
    from wavenet.classifier.run_folder import CLIPS_NAME, HEAD_NAME, clips_table, holds_run
    from wavenet.errors import ConfigError, DataError
    from wavenet.files import replace_file
    from wavenet.saved import write_model

    require_folder(out)
    if holds_run(out):
        raise ConfigError(f"--out is {out}, which holds a run already; accepted is another folder")
    model = load_model(run, device)
    rate = model.config.sample_rate
    cache = AudioCache(None, rate)
    report = check_clips(find_clips(data), cache, min_samples=model.receptive_field)
    test = [clip for clip in report.kept if clip.split == "test"]
    clips = [clip for clip in report.kept if clip.split != "test"]
    if not clips:
        raise DataError(f"{data}: no clip is left to fit to; all are test clips")
    for skipped in report.skipped:
        say(f"skipped: {skipped.reason}")
    labels = tuple(labels_of(clips))
    test = [clip for clip in test if clip.label in labels]
    max_samples = DataConfig(max_seconds=max_seconds).max_samples(rate)
    fitted = fit(model, clips, labels, cache, neighbours=neighbours, max_samples=max_samples)
    out.mkdir(parents=True, exist_ok=True)
    write_model(fitted.model, out)
    prepared = PreparedData(Splits(clips, [], test), labels, cache, report)
    replace_file(out / CLIPS_NAME, clips_table(prepared, out))
    figures = {key: value for key, value in vars(fitted).items() if key != "model"}
    content = {"from": str(run), "data": str(data), "labels": labels, **figures}
    replace_file(out / HEAD_NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if fitted.linear is not None and fitted.nearest is not None:
        say(
            f"left out in {fitted.folds} folds: linear {fitted.linear:.1%}, "
            f"{neighbours} nearest neighbours {fitted.nearest:.1%}"
        )
    else:
        say("accuracy is not known: a class has one clip only")
    say(f"{len(labels)} classes of {len(clips)} clips; the model is in {out}")
    evaluate = (["evaluate", out], "how good it is, on the test clips")
    predict = (["predict", out, "FILE_OR_FOLDER"], "what recordings are")
    suggest(*[evaluate] if test else [], predict)
