"""The backend of Triton kernels, for every GPU that Triton compiles for.

triton is imported on the first call, not with this module: it is optional at run time.
With TRITON_INTERPRET=1 the kernels run in Triton's interpreter, on CPU tensors too.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and any other one is copied once.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from contextlib import AbstractContextManager

import torch

from wavenet_kernels.backends.contract import KEEPS_INPUTS, Configuration, Stream
from wavenet_kernels.backends.triton import tuning
from wavenet_kernels.backends.triton.launcher import current_launcher, interpreted, on_device_of
from wavenet_kernels.backends.triton.tuning import MOST_CHANNELS
from wavenet_kernels.call import COMMON_SETTINGS, Call, Gradients, Outputs
from wavenet_kernels.rows import channels_last

SETTINGS = COMMON_SETTINGS
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_OLDEST = (3, 5)  # whose loops can be kept from hoisting every address into registers
_MOST_ROWS = 2**27  # of a clip: up to 15 taps further on are counted in 32 bits
_MOST_TAPS = 15


def unavailable() -> str | None:
    """Why Triton kernels can't run here, or None."""
    return _unusable_triton() or current_launcher().unavailable()


@functools.cache
def _unusable_triton() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    try:
        version = importlib.import_module("triton").__version__
    except ImportError as error:
        return f"triton can't be imported ({error})"
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        return f"triton {version} is too old; 3.5 or later, as torch 2.9 brings it, is accepted"
    return None


def describe() -> str:
    import triton

    where = "its interpreter" if interpreted() else "compiled on first use"
    return f"triton {triton.__version__}, {where}"


def supports(call: Call) -> str | None:
    """Tensors on a GPU, in the dtypes and sizes that the kernels count in."""
    x, sizes = call.tensors.x, call.sizes
    if x.dtype not in _DTYPES:
        return (
            f"computes in float32, bfloat16 and float16, not {x.dtype}; the reference backend does"
        )
    if not current_launcher().accepts(x.device):
        return (
            f"needs tensors on a GPU; these are on {x.device}, where the cpu and reference "
            "backends work"
        )
    if call.settings.keep == "gates":
        return KEEPS_INPUTS
    # The gate alone goes through its channels in blocks.
    if sizes.D > MOST_CHANNELS and call.operator != "gated_activation":
        return (
            f"computes gates of up to {MOST_CHANNELS} channels, not {sizes.D}; the reference "
            "backend does"
        )
    if sizes.K > _MOST_TAPS:
        return (
            f"takes convolutions of up to {_MOST_TAPS} taps, not {sizes.K}; the reference backend "
            "takes more"
        )
    if sizes.T > _MOST_ROWS:
        return (
            f"takes clips of up to {_MOST_ROWS:,} times, not {sizes.T:,}; the reference backend "
            "takes longer ones"
        )
    return None


def forward(call: Call, outputs: Outputs) -> None:
    from wavenet_kernels.backends.triton import gate, passes, stack

    tensors = call.tensors
    with on_device_of(tensors.x):
        if call.operator == "residual_stack":
            stack.forward(call, outputs)
            return
        assert outputs.y is not None
        if call.operator == "gated_activation":
            gate.forward(tensors.x, tensors.cond, outputs.y)
            return
        x = channels_last(tensors.x)
        if call.operator == "gated_conv1d":
            passes.forward(stack.pack_layers(call)[0], x, z=outputs.y)
            return
        assert tensors.conv_weight is not None
        bias = None if tensors.conv_bias is None else tensors.conv_bias[0].contiguous()
        weight = passes.pack(tensors.conv_weight[0])
        passes.convolve(x, weight, bias, call.settings.dilations[0], call.left[0], outputs.y)


def backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    from wavenet_kernels.backends.triton import gate, stack

    with on_device_of(call.tensors.x):
        if call.operator == "residual_stack":
            stack.backward(call, gradients, outputs)
        elif call.operator == "gated_conv1d":
            stack.gated_convolution_backward(call, gradients, outputs)
        elif call.operator == "dilated_conv1d":
            stack.convolution_backward(call, gradients, outputs)
        else:
            assert gradients.y is not None and outputs.x is not None
            gate.backward(gradients.y, call.tensors.x, call.tensors.cond, outputs.x)


def stream(call: Call) -> Stream:
    from wavenet_kernels.backends.triton import stack

    return stack.StackStream(call)


def configurations(call: Call) -> list[Configuration]:
    """Neighbours of what the table or the rule says of the kernels that take most of the time."""
    x, (_, _, R, D, S, K) = call.tensors.x, call.sizes
    if call.operator == "gated_activation":
        return []
    kernels = {"layer": {"R": R, "D": D, "S": S, "K": K}}
    if call.operator == "dilated_conv1d":
        assert call.tensors.conv_weight is not None
        kernels = {"convolution": {"R": R, "C": call.tensors.conv_weight.shape[1], "K": K}}
    elif call.operator == "residual_stack" and x.dtype.itemsize == 2:
        if tuning.gradient_sums(R, D, S, K) <= tuning.MOST_GRADIENT_SUMS:
            kernels["layer_gradient"] = kernels["layer"]
    launcher = current_launcher()
    return [
        {kernel: way}
        for kernel, sizes in kernels.items()
        for way in tuning.neighbours(kernel, launcher.configure(kernel, x, **sizes))
    ]


def configured(configuration: Configuration) -> AbstractContextManager[None]:
    return tuning.adjusted(configuration)
