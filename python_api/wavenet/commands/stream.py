"""`wavenet stream`: decisions about a live signal, or a recording taken as one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from wavenet.commands.common import Channel, Device, Run, nobody_reads, print_json, warn

if TYPE_CHECKING:
    from torch import Tensor


def stream(
    run: Run,
    source: Annotated[
        Path,
        typer.Argument(
            help="- for the standard input, raw PCM or a WAV; a file of raw PCM (.pcm, .raw or no "
            "suffix), or a recording (WAV, FLAC, ...).",
            readable=False,
        ),
    ] = Path("-"),
    pcm_format: Annotated[
        str | None,
        typer.Option("--format", help="Of raw PCM, little-endian: s16 (the default), s32 or f32."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(help="Of raw PCM, in Hz; by default the model's.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Of raw PCM, interleaved; by default 1.")
    ] = None,
    window: Annotated[
        float, typer.Option(help="Seconds that a decision is about; 0: all since the start.")
    ] = 1.0,
    hop: Annotated[float, typer.Option(help="Seconds between decisions.")] = 0.1,
    chunk: Annotated[float, typer.Option(help="Seconds of audio to wait for at a time.")] = 0.1,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 1,
    weights: Annotated[
        str, typer.Option(help="float32, bfloat16 or int8 (stack and head, on a CPU).")
    ] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    channel: Channel = 0,
    device: Device = "cpu",
) -> None:
    """Decisions about raw PCM from a pipe, or a file, as JSON lines while it comes.

    A line says from when to when (seconds since the start) a decision is about, and what is heard:
    the likeliest class, "unknown" where its probability is below what training has chosen,
    "silence" where there is no sound; of a model of tags all that are. At the end the standard
    error says how much faster than real time it was. Memory does not grow with the signal. Ctrl-C
    ends it as the signal's end does.

    Example: arecord -q -f S16_LE -r 8000 | wavenet stream runs/mine

    Or: ffmpeg -v error -i talk.mp4 -f f32le -ac 1 -ar 48000 - | wavenet stream runs/mine
    --format f32 --rate 48000

    Or: wavenet stream runs/mine lecture.flac --window 2 --hop 0.5 --top 3
    """
    import torch

    from wavenet.classifier.inference import StreamingClassifier, load_model

    torch.set_num_threads(threads)
    model = load_model(run, device)
    listener = StreamingClassifier(
        model, window_seconds=window or None, hop_seconds=hop, weights=weights
    )
    told = {"pcm_format": pcm_format, "rate": rate, "channels": channels}
    raw = {name: value for name, value in told.items() if value is not None}
    heard = computed = 0.0
    try:
        with ExitStack() as opened:
            blocks = _blocks(source, model.config.sample_rate, chunk, channel, raw, opened)
            try:
                for block in blocks:
                    started = time.perf_counter()
                    decisions = listener.push(block)
                    heard, computed = listener.seconds, computed + time.perf_counter() - started
                    _print(decisions, top)
            except KeyboardInterrupt:
                pass
            _print(listener.finish(), top)
    except BrokenPipeError:
        nobody_reads()  # our lines any more (`| head`)
    if heard:
        warn(
            f"{heard:.2f} s of audio in {computed:.2f} s of computing on {threads} thread(s): "
            f"real-time factor {computed / heard:.4f}, {heard / computed:.1f} times real time"
        )
    else:
        warn("no audio came")


def _blocks(
    source: Path,
    sample_rate: int,
    chunk: float,
    channel: int,
    raw: dict[str, Any],
    opened: ExitStack,
) -> Iterator[Tensor]:
    from wavenet.audio import audio_blocks, pcm_blocks
    from wavenet.audio.containers import open_raw
    from wavenet.errors import AudioError, DataError

    def from_pipe(file: BinaryIO, what: str) -> Iterator[Tensor]:
        samples, header = open_raw(file, what)
        if header and raw:
            raise DataError(
                f"{what} brings WAV, which says itself what is in it; --format, --rate and "
                "--channels are accepted with raw PCM"
            )
        return pcm_blocks(
            samples, sample_rate, channel=channel, block_seconds=chunk, **(header or raw)
        )

    if str(source) == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise DataError("the standard input is closed; pipe raw PCM or a WAV into it")
        return from_pipe(sys.stdin.buffer, "the standard input")
    if source.suffix.lower() not in ("", ".pcm", ".raw"):
        if raw:
            raise DataError(
                f"{source} is a recording, which says itself what is in it; --format, --rate and "
                "--channels are accepted with raw PCM (-, .pcm, .raw or no suffix)"
            )
        return audio_blocks(source, sample_rate, chunk, channel=channel)
    if source.is_dir() or not source.exists():
        came = "is a folder" if source.is_dir() else "no such file"
        raise AudioError(f"{source}: {came}; a recording or raw PCM is expected", "missing")
    return from_pipe(opened.enter_context(open(source, "rb")), str(source))


def _print(decisions: list[Any], top: int) -> None:
    for decision in decisions:
        content: dict[str, object] = {
            "start": round(decision.start, 4),
            "end": round(decision.end, 4),
            **_named(decision),
        }
        if top > 1:
            content["top"] = [
                {"label": label, "probability": round(probability, 6)}
                for label, probability in decision.top(top)
            ]
        print_json(content)


def _named(decision: Any) -> dict[str, object]:
    """What is heard: the label, or all tags that are."""
    if decision.rule is None or not decision.rule.tags:
        return {"label": decision.label, "probability": round(decision.probability, 6)}
    return {"tags": {label: round(probability, 6) for label, probability in decision.meant}}
