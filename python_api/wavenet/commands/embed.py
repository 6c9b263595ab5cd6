"""`wavenet embed`: recordings as vectors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import (
    Channel,
    Device,
    Recordings,
    Run,
    require_file,
    say,
    suggest,
    warn,
)


def embed(
    run: Run,
    recordings: Recordings,
    out: Annotated[Path, typer.Option(help="The .npz file with paths and embeddings.")],
    channel: Channel = 0,
    device: Device = "cpu",
) -> None:
    """What a model makes of recordings before it names them: a vector each, in a NumPy file.

    Near vectors are of sounds that are alike, to search, cluster or classify by. The file has
    `embeddings`, float32 (recordings, channels), and `paths`; those that can't be read are left
    out and named.

    Example: wavenet embed runs/mine folder/ new.wav --out vectors.npz
    """
    import numpy as np
    import torch

    from wavenet.audio import read_audio
    from wavenet.classifier.inference import find_recordings, load_model
    from wavenet.classifier.inference.predict import reason
    from wavenet.errors import AudioError
    from wavenet.files import replace_file

    require_file(out, (".npz",))
    paths = find_recordings(recordings)
    model = load_model(run, device)
    vectors, embedded, failed = [], [], 0
    with torch.inference_mode():
        for path in paths:
            try:
                waveform = read_audio(path, model.config.sample_rate, channel=channel).to(device)
            except AudioError as error:
                warn(reason(path, error))
                failed += 1
                continue
            vectors.append(model.embed(waveform.unsqueeze(0))[0].float().cpu().numpy())
            embedded.append(str(path))
    content = io.BytesIO()
    channels = model.classifier.in_features
    table = np.stack(vectors) if vectors else np.zeros((0, channels), np.float32)
    np.savez(content, embeddings=table, paths=np.array(embedded, dtype=str))
    replace_file(out, content.getvalue())
    say(f"wrote {out}: {len(embedded)} embeddings of {channels} numbers")
    if failed:
        warn(f"{failed} of {len(paths)} recordings could not be read")
        raise typer.Exit(1)
    command = ["fit-head", run, "--data", "FOLDER", "--out", "runs/few"]
    suggest((command, "classes of your own by such vectors, from ten clips of each"))
