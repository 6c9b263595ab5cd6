"""How much memory a network takes for so many samples: known before it is taken.

Counted are the tensors that are there at the peak. `tests/wavenet/test_memory.py` measures them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from wavenet.networks.architecture import Architecture
from wavenet.networks.memory import stack_floats

# Of a sample: the waveform as it came, changed, companded and padded, with what that takes.
FLOATS_OF_A_SAMPLE = 6
# Of an output of the head's convolutions: the input padded, the output, and its gradient.
COPIES_IN_HEAD = 3
# Of a band: the pair of filters' outputs, energy and its logarithm.
FLOATS_OF_A_BAND = 4
# Of the next-sample head's logits: themselves, their logarithmic softmax and the gradient.
COPIES_OF_LOGITS = 3
NEXT_SAMPLE_CLASSES = 256
MANY = 1_000_000


def training_bytes(
    model: Architecture, samples: int, bytes_of_float: int = 4, clip_samples: float | None = None
) -> int:
    """What forward and backward take of a padded batch of so many samples in all.

    Args:
        model: the network.
        samples: clips times the samples of the longest one.
        bytes_of_float: of an activation; 2 in mixed precision.
        clip_samples: of each clip, before which filters hear silence; None: so many that it counts
            for nothing. See `usual`.
    """
    skip = model.skip_channels
    floats = 2 * skip + stack_floats(  # the skip sum with its gradient
        model.residual_channels,
        model.dilation_channels,
        model.kernel_size,
        len(model.dilations),
        model.checkpoint_every,
        samples / model.stem_stride,
        bytes_of_float,
    )
    # Gradients, and what a normalisation keeps.
    copies = 1 if model.filter_norm == "none" else 2
    outputs, _ = _of_filter_layers(model)
    floats += copies * _with_silence(model, clip_samples) * outputs
    if model.next_sample_weight > 0:
        floats += skip + COPIES_OF_LOGITS * NEXT_SAMPLE_CLASSES
    return _bytes(model, floats, samples, bytes_of_float, clip_samples)


def inference_bytes(
    model: Architecture, samples: int, bytes_of_float: int = 4, clip_samples: float | None = None
) -> int:
    """What a forward pass alone takes: inputs of layers in turn, the skip sum, and it above 0."""
    floats = 3 * model.residual_channels + 2 * model.skip_channels
    return _bytes(model, floats, samples, bytes_of_float, clip_samples)


def _bytes(
    model: Architecture,
    floats: float,
    samples: int,
    bytes_of_float: int,
    clip_samples: float | None,
) -> int:
    """Of `floats` a step, and what every pass has."""
    floats += COPIES_IN_HEAD * model.head_layers * model.head_channels / model.steps_per_frame
    if model.input == "one-hot":  # codes and rows of the weight are int64
        floats += 8 / bytes_of_float * (model.stem_kernel_size + 4 * model.stem_stride)
    if model.filters:  # and the windows that the filters are multiplied with
        silence = _with_silence(model, clip_samples)
        times = 2**model.filter_layers
        of_bands = times * (FLOATS_OF_A_BAND * model.filters + model.stem_kernel_size)
        # What is on its way: of a block its input, what is added to it, and gradients of both.
        outputs, first = _of_filter_layers(model)
        floats += silence * (of_bands + min(outputs, 4 * first))
    steps = samples / model.stem_stride
    return round(steps * floats * bytes_of_float + samples * FLOATS_OF_A_SAMPLE * 4)


def _of_filter_layers(model: Architecture) -> tuple[float, float]:
    """Outputs of a step, of all layers and of the first one.

    Bands and times halve where channels double, so that layers' outputs do.
    """
    if not model.filter_layers:
        return 0, 0
    first = model.filter_channels * model.filters / 2 * 2**model.filter_layers / 2
    return 2 * first * (1 + 2 * model.filter_blocks), first


def _with_silence(model: Architecture, clip_samples: float | None) -> float:
    """So many times a clip's own samples are what its filters hear."""
    if clip_samples is None:
        return 1.0
    return 1.0 + (model.stem_receptive_field - model.stem_kernel_size) / clip_samples


def usual(lengths: Sequence[int]) -> float:
    """Of clips' samples their mean: the shortest alone would say that a batch is full of it."""
    return max(1.0, sum(lengths) / max(1, len(lengths)))


def samples_within(gigabytes: float, bytes_of: Callable[[int], int]) -> int:
    """The most samples of which `bytes_of` is no more than so many gigabytes; at least one.

    Bytes of many samples are proportional to them; few may take more each.
    """
    room = gigabytes * 1e9
    samples = int(MANY * room / bytes_of(MANY))
    while samples > 1 and bytes_of(samples) > room:
        samples = min(samples - 1, int(samples * room / bytes_of(samples)))
    return max(1, samples)


def memory_of(device: torch.device) -> int | None:
    """Bytes that a device has, or this process of the machine's; None: nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    try:  # what a container may take
        allowed = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return machine
    return min(machine, allowed)
