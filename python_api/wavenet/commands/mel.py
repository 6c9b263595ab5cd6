"""`wavenet mel`: mel-spectrograms by a model's own front-end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wavenet.commands.common import Run, require_folder, say
from wavenet.commands.sounds import files_of, load_generator, suggest_sound


def mel(
    run: Run,
    inputs: Annotated[list[Path], typer.Argument(help="Recordings, and folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.npy and NAME.json.")],
) -> None:
    """Mel-spectrograms of recordings by a model's own front-end: .npy of (F, M), float32.

    The JSON beside each says all that decides what its numbers mean; `wavenet vocode` compares it
    with its model's.

    Example: wavenet mel runs/vocoder recordings/ --out mels/
    """
    import io

    import numpy as np

    from wavenet.audio.opening import audio_suffixes
    from wavenet.audio.reading import read_audio
    from wavenet.errors import DataError
    from wavenet.files import replace_file
    from wavenet.generation.recordings import frames_of

    config = load_generator(run, "cpu").config
    if config.mel is None:
        raise DataError(
            f"{run}: has no mel-spectrograms; accepted is a model that makes sound of them"
        )
    require_folder(out)
    files = files_of(inputs, sorted(audio_suffixes()))
    description = json.dumps(config.mel.as_dict(), indent=1) + "\n"
    frames = 0
    for path in files:
        heard = frames_of(read_audio(path, config.sample_rate), config)
        out.mkdir(parents=True, exist_ok=True)  # not of files of which none can be read
        rows = heard.T.contiguous().numpy()
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        replace_file(out / f"{path.stem}.npy", content.getvalue())
        replace_file(out / f"{path.stem}.json", description)
        frames += len(rows)
    say(f"{len(files)} file(s), {frames} frames of {config.mel.mels} mels are in {out}")
    suggest_sound(run, config, out)
