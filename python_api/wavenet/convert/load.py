"""Which file of whom it is, and the model in it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from wavenet.convert.hparams import HParams, Reading, read_hparams
from wavenet.convert.nam import from_nam, is_nam
from wavenet.convert.nv_wavenet import from_nv_wavenet, is_nv_wavenet
from wavenet.convert.state_dicts import fold_weight_norm, state_dict_of, width_of
from wavenet.convert.torch_files import read_torch_file
from wavenet.convert.vocoder import from_vocoder, is_vocoder
from wavenet.convert.waveglow import from_waveglow, is_waveglow
from wavenet.errors import ModelError
from wavenet.generation.model import WaveNet
from wavenet.generation.waveglow import WaveGlow
from wavenet.networks.amplifier import Amplifier

log = logging.getLogger("wavenet.convert")


class Imported(NamedTuple):
    """A model, what its file is, and what was assumed because no file says it."""

    model: WaveNet | WaveGlow | Amplifier
    found: str
    assumed: tuple[str, ...]


def load_checkpoint(
    path: str | os.PathLike[str],
    hparams: HParams | None = None,
    *,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> WaveNet | WaveGlow | Amplifier:
    """Our model with a file of wavenet_vocoder, WaveGlow, nv-wavenet or NAM, in eval mode.

    wavenet_vocoder's newest layout and that of v0.1.1, EMA files; WaveGlow's three layouts, state
    dictionaries or pickled modules; weights normalised in torch's old or new way or folded, both
    formats of torch.save; Neural Amp Modeler's .nam with a WaveNet in it. No pickle is run. What
    the file is and what was assumed is logged as "wavenet.convert"; `import_checkpoint` returns it.

    Args:
        path: a .pth or .nam; nothing but tensors and numbers of it is read.
        hparams: a JSON file or a dictionary; None: hparams.json beside the checkpoint.
        dtype: of the model; None: float64 where the file is in it, else float32.
        options: hparams that are to be others, such as stacks=4; `legacy=False` for a v0.1.1 file
            whose skips are summed plainly; `edges`, `mean` and `std` (of the mel-spectrogram). Of a
            WaveGlow `sample_rate`, `mel`, `hop`, `sigma`, and `swap_halves=True` for a file of
            glow_old.py, which no tensor tells. Of an nv-wavenet `sample_rate`, `mel`, and, of a
            state dictionary, `max_dilation` and `hop`.

    Raises:
        ModelError: a file that is damaged, of another kind or hostile, weights that are missing,
            or hparams that don't fit: one sentence.

    Example::

        model = wavenet.convert.load_checkpoint("checkpoint_step001000000_ema.pth")
        audio = model.generate(mel, seed=1)
    """
    imported = import_checkpoint(path, hparams, dtype=dtype, **options)
    log.info("%s: %s", path, imported.found)
    for assumption in imported.assumed:
        log.warning("%s: assumed: %s", path, assumption)
    return imported.model


def import_checkpoint(
    path: str | os.PathLike[str],
    hparams: HParams | None = None,
    *,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Imported:
    """`load_checkpoint`, and what the file is and what was assumed."""
    if not (dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point)):
        raise ModelError(f"dtype is {dtype!r}; accepted is None or one of torch's floats")
    file = Path(path)
    if is_nam(file):
        return _nam(file, dtype or torch.float32, hparams, options)
    saved = read_torch_file(file)
    try:
        weights = state_dict_of(saved)
        width = dtype or width_of(weights)
        folded, norm = fold_weight_norm(weights)
        if is_waveglow(folded):
            return _waveglow(folded, norm, width, options)
        if is_nv_wavenet(folded):
            return _nv_wavenet(folded, saved, width, options)
        if not is_vocoder(folded):
            names = ", ".join(list(folded)[:3])
            raise ModelError(
                f"is no checkpoint that is known: it begins with {names}; accepted are "
                "wavenet_vocoder's, WaveGlow's and nv-wavenet's"
            )
        values = {**read_hparams(hparams, file), **options}
        model, reading = from_vocoder(folded, values)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None
    except (IndexError, RuntimeError) as error:  # of tensors that are stacked
        first = str(error).partition("\n")[0]
        raise ModelError(f"{file}: its weights don't fit one another: {first}") from None
    except ValueError as error:  # of a description that they, the hparams or options make
        raise ModelError(f"{file}: can't be used: {error}") from None
    step = saved.get("global_step") if isinstance(saved, dict) else None
    config = model.config
    generation = "v0.1.1" if config.skip_scale == 1 else "newest layout"
    averaged = ", averaged weights" if file.stem.endswith("_ema") else ""
    found = (
        f"wavenet_vocoder, {generation}{averaged}, step {step}, weight norm {norm}: "
        f"{config.distribution}, {len(config.dilations)} layers in {config.stacks} stacks, "
        f"{config.sample_rate} Hz"
    )
    return _imported(model, width, found, reading)


def _nam(
    file: Path, width: torch.dtype, hparams: HParams | None, options: dict[str, Any]
) -> Imported:
    if hparams is not None or options:
        raise ModelError(f"{file}: hparams or options are given; a .nam says all by itself")
    try:
        model, reading = from_nam(file)
    except ValueError as error:
        raise ModelError(f"{file}: {error}") from None
    layers = ", ".join(
        f"{len(array.dilations)} layers of {array.channels} channels{', gated' * array.gated}"
        for array in model.config.arrays
    )
    found = f"Neural Amp Modeler, WaveNet: {layers}, {model.config.sample_rate:g} Hz"
    return _imported(model, width, found, reading)


def _waveglow(
    weights: dict[str, torch.Tensor], norm: str, width: torch.dtype, options: dict[str, Any]
) -> Imported:
    model, reading, layout = from_waveglow(weights, options)
    config = model.config
    found = (
        f"WaveGlow, {layout}, weight norm {norm}: {config.flows} flows of {config.layers} x "
        f"{config.channels}, {config.mel.mels} mels, {config.sample_rate} Hz"
    )
    return _imported(model, width, found, reading)


def _nv_wavenet(
    weights: dict[str, torch.Tensor], saved: Any, width: torch.dtype, options: dict[str, Any]
) -> Imported:
    model, reading = from_nv_wavenet(weights, saved, options)
    config = model.config
    found = (
        f"nv-wavenet: {config.classes} classes, {len(config.dilations)} layers in {config.stacks} "
        f"stacks, {config.sample_rate} Hz"
    )
    return _imported(model, width, found, reading)


def _imported(
    model: WaveNet | WaveGlow | Amplifier, width: torch.dtype, found: str, reading: Reading
) -> Imported:
    return Imported(model.to(width).eval(), found, tuple(reading.assumed))
