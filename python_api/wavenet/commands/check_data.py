"""`wavenet check-data`: what a training run would see, and what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import (
    Config,
    Override,
    console,
    given,
    picked,
    progress,
    require_file,
    run_config,
    say,
    suggest,
)


def check_data(
    data: Annotated[
        Path | None,
        typer.Option(help="A folder or a manifest; by default the config's data.source."),
    ] = None,
    config: Config = None,
    override: Override = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Every finding makes the exit code 1; notes don't.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Also write everything as JSON to this file.")
    ] = None,
) -> None:
    """Look at every clip as a training run would, split as it would split them.

    Shows clips of each class and split, rates and durations. Serious: clips that can't be read, are
    empty or silent; the same audio (by content, whatever its name or format) in two splits or with
    two labels; a group in two splits; channels that cancel; samples far beyond full scale. Other
    findings: clipping, duplicates, absent classes, labels that differ in case. Notes, of what
    training makes of the data as they are: several rates, clips shorter than the receptive field,
    imbalance.

    Exit code 0: nothing serious, with --strict no finding; 1: there is; 2: it can't be trained on
    at all.

    Example: wavenet check-data --data recordings/ --config demo --strict
    """
    from rich.markup import escape
    from rich.table import Table

    from wavenet.classifier.data import prepare_data
    from wavenet.classifier.data.dataset_audit import Finding, audit
    from wavenet.errors import ConfigError
    from wavenet.files import replace_file

    if out is not None:
        require_file(out)
    overrides = list(override or [])
    if config is None and data is not None:
        overrides = [*picked(overrides, data), *overrides]  # as a training would
    settings = run_config(config, overrides, data)
    if not settings.data.source:
        raise ConfigError(
            "there is no data to check; give --data, a folder or a manifest, or --config"
        )
    model = settings.model
    seed = settings.training.seed
    with progress("reading clips") as read:
        prepared = prepare_data(settings.data, model.sample_rate, model.receptive_field, seed, read)
    parts = vars(prepared.splits)
    with progress("looking closer") as looked:
        audited = audit(parts, progress=looked)
    unusable = [
        Finding(s.kind, True, s.reason, (str(s.clip.path),)) for s in prepared.report.skipped
    ]
    notes = [Finding("note", False, note, note=True) for note in prepared.report.notes]
    findings = [*unusable, *audited.findings, *notes]
    said = Counter(finding.word for finding in findings)

    table = Table("class", *parts)
    for label, counts in audited.counts.items():
        table.add_row(escape(label), *map(str, counts.values()))
    table.add_section()
    table.add_row("all", *(str(len(clips)) for clips in parts.values()))
    console.print(table)
    for name, seconds in audited.seconds.items():
        say(
            f"{name}: {seconds['sum'] / 60:.1f} min, clips of {seconds['shortest']:.2f} to "
            f"{seconds['longest']:.2f} s, median {seconds['median']:.2f} s"
        )
    rates = ", ".join(f"{count} at {rate} Hz" for rate, count in audited.rates.items())
    channels = ", ".join(f"{count} with {n} channel(s)" for n, count in audited.channels.items())
    say(f"files: {rates}; {channels}; the model hears {model.sample_rate} Hz")
    for finding in findings:
        say(f"{finding.word}: {finding.message}")
    if out is not None:
        content = audited.as_dict() | {"findings": [vars(finding) for finding in findings]}
        content |= {"source": settings.data.source, "serious": said["serious"]}
        replace_file(out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    say(f"{said['serious']} serious finding(s), {said['finding']} other(s), {said['note']} note(s)")
    if said["serious"] or (strict and said["finding"]):
        raise typer.Exit(1)
    command = ["train", *given(data=settings.data.source, config=config, set=override)]
    suggest((command, "a model of these recordings"))
