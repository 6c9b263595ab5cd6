"""The backend of the CUDA C++ kernels in csrc/cuda: float32, bfloat16 and float16 on NVIDIA GPUs.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and any other one is copied once. They run on torch's current
stream of the tensors' device. A simulator may take the GPUs' place: `use_machine`.

How a stack is cut into launches and tiles is planned (csrc/cuda/plan.h); there are a few other ways
to go about a call, which calibration tries: `configurations`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, overload

import torch
from torch import Tensor

from wavenet_kernels.backends.contract import KEEPS_INPUTS, Configuration
from wavenet_kernels.call import COMMON_SETTINGS, Call, Gradients, Outputs, Sizes, Tensors
from wavenet_kernels.rows import address_of, channels_last, empty_rows, rows_of, rows_of_saved

_missing: str | None = None
try:
    import wavenet_kernels._cuda as _module
except ImportError as error:
    _module = None
    _missing = (
        f"its compiled module can't be loaded ({error}); "
        "`WAVENET_KERNELS_CUDA=1 pip install .` builds it where nvcc is installed"
    )

SETTINGS = COMMON_SETTINGS
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
_CHANNELS = (16, 32, 64, 128, 256)  # R and D of stacks
_MOST_SKIP, _MOST_TAPS, _MOST_TIMES = 512, 4, 2**31


class Machine:
    """What kernels run on: NVIDIA's GPUs, and the compiled module with code for them.

    Something else that runs them derives from this and is put in force by `use_machine`.
    """

    device_type = "cuda"

    def __init__(self, module: Any) -> None:
        self.module = module

    def unavailable(self) -> str | None:
        """Why nothing can be run on this machine, or None."""
        if _missing is not None:
            return _missing
        if torch.version.cuda is None:
            return f"torch {torch.__version__} is built without CUDA"
        if not torch.cuda.is_available():
            return f"no CUDA device ({self.built_for()})"
        if self.module.device_count() == 0:
            return f"the driver is too old for this module ({self.built_for()})"
        return None

    def refusal(self, device: torch.device) -> str:
        """Why the module has no code for a device; empty if it has."""
        with self.current(device):
            reason: str = self.module.refusal()
        return reason

    def current(self, device: torch.device) -> AbstractContextManager[Any]:
        """Makes a device current for a block: kernels run there, and plans for it are made there.

        By torch's guard, as what CUDA itself would go back to might be a device that nobody uses,
        and would be set up then.
        """
        return torch.cuda.device(device)

    def stream(self, x: Tensor) -> int:
        """On which to launch, as torch numbers them."""
        return torch.cuda.current_stream(x.device).cuda_stream

    def built_for(self) -> str:
        """What the module has code for."""
        info = self.module.build_info()
        chips = " ".join(f"sm_{arch.removesuffix('-real')}" for arch in info["archs"].split())
        return f"built for {chips}, cudart {info['cudart']}"


_machine = Machine(_module)


@contextmanager
def use_machine(machine: Machine) -> Iterator[None]:
    """Compute on this one until the end of the block, in the whole process."""
    global _machine
    before, _machine = _machine, machine
    try:
        yield
    finally:
        _machine = before


@functools.cache
def _unavailable(machine: Machine) -> str | None:
    return machine.unavailable()


@functools.cache
def _refusal(machine: Machine, device: torch.device) -> str:
    return machine.refusal(device)


def unavailable() -> str | None:
    """Why this backend can't work on this machine, or None."""
    return _unavailable(_machine)


def describe() -> str:
    """What the compiled module was built for."""
    return _machine.built_for()


def supports(call: Call) -> str | None:
    """Tensors on a device that the module has code for, sizes that the products are made of."""
    x = call.tensors.x
    if call.operator == "dilated_conv1d":
        return 'has no dilated_conv1d; use_backend("auto") finds a backend that has'
    if x.device.type != _machine.device_type:
        return (
            f'computes on CUDA tensors, not on {x.device}; use_backend("auto") picks a backend by '
            "device"
        )
    if x.dtype not in _DTYPES:
        return (
            f"computes in float32, bfloat16 and float16, not {x.dtype}; convert the tensors, or "
            "use the reference backend"
        )
    if reason := _refusal(_machine, x.device):
        return (
            f"has no code for {torch.cuda.get_device_name(x.device)} ({_machine.built_for()}): "
            f"{reason}; WAVENET_KERNELS_CUDA_ARCHS=native when it is built adds it"
        )
    if call.operator == "gated_activation":
        return None
    if call.settings.keep == "gates":
        return KEEPS_INPUTS
    if x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest":
        return (
            "multiplies float32 matrices in TF32, which "
            'torch.set_float32_matmul_precision("high") allows; the triton backend computes in '
            "float32"
        )
    return _unfitting(call.sizes) or _no_room(call)


def forward(call: Call, outputs: Outputs) -> None:
    if call.operator == "gated_activation":
        _gate(call, outputs.y)
        return
    prepared = _Prepared(call)
    saved, saved_stride = rows_of_saved(outputs.saved)
    plan = _plan(
        _machine,
        "StackForward",
        **_shape(call),
        residual=outputs.residual is not None,
        skip=outputs.skip is not None,
        keep=saved_stride > 0 and call.settings.checkpoint_every == 1,
    )
    workspace = prepared.workspace(plan.workspace_bytes)
    _launch(
        plan.run,
        call.tensors.x,
        tensors=prepared.tensors,
        y=rows_of(outputs.y),
        residual=rows_of(outputs.residual),
        skip=rows_of(outputs.skip),
        saved=saved,
        saved_stride=saved_stride,
        checkpoint_every=call.settings.checkpoint_every,
        workspace=workspace.data_ptr(),
    )


def backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    x = call.tensors.x
    if call.operator == "gated_activation":
        _gate_backward(call, gradients.y, outputs.x)
        return
    prepared = _Prepared(call)
    y, residual, skip = map(_aligned, (gradients.y, gradients.residual, gradients.skip))
    inputs = None if gradients.saved is None else gradients.saved.contiguous()
    saved, saved_stride = rows_of_saved(inputs)
    grad_x = empty_rows(x, *x.shape) if outputs.x is None else outputs.x  # a scratch at least
    cond = outputs.cond
    plan = _plan(
        _machine,
        "StackBackward",
        **_shape(call),
        residual=residual is not None,
        skip=skip is not None,
        fuse=_fuses(cond, x),
    )
    workspace = prepared.workspace(plan.workspace_bytes)
    _launch(
        plan.run,
        x,
        tensors=prepared.tensors,
        grad_y=rows_of(y),
        grad_residual=rows_of(residual),
        grad_skip=rows_of(skip),
        saved=saved,
        saved_stride=saved_stride,
        grad_x=rows_of(grad_x),
        want_x=outputs.x is not None,
        grad_conv_weight=address_of(outputs.conv_weight),
        grad_conv_bias=address_of(outputs.conv_bias),
        grad_out_weight=address_of(outputs.out_weight),
        grad_out_bias=address_of(outputs.out_bias),
        grad_cond=rows_of(cond),
        workspace=workspace.data_ptr(),
    )


def _gate(call: Call, z: Tensor | None) -> None:
    held = channels_last(call.tensors.x), channels_last(call.tensors.cond)
    _launch(_machine.module.gated_activation, held[0], **_gate_arguments(call, *held), z=rows_of(z))


def _gate_backward(call: Call, grad_z: Tensor | None, grad_a: Tensor | None) -> None:
    held = channels_last(call.tensors.x), channels_last(call.tensors.cond)
    grad_z = channels_last(grad_z)
    _launch(
        _machine.module.gated_activation_backward,
        held[0],
        **_gate_arguments(call, *held),
        grad_z=rows_of(grad_z),
        grad_a=rows_of(grad_a),
    )


def _gate_arguments(call: Call, a: Tensor, cond: Tensor | None) -> dict[str, Any]:
    """What both passes take; the caller holds a and cond, which may be copies."""
    sizes = call.sizes
    return {
        "dtype": _DTYPES[a.dtype],
        "B": sizes.B,
        "T": sizes.T,
        "D": sizes.D,
        "a": rows_of(a),
        "cond": rows_of(cond),
    }


class _Stream:
    """Packed weights, and rings of past inputs that every step goes on from in place.

    Where the rings stand is in device memory too, so that a captured step may be replayed.
    """

    def __init__(self, call: Call) -> None:
        self._call, sizes = call, call.sizes
        tensors, like = call.tensors, call.tensors.x
        conv_weight, out_weight = (
            None if w is None else w.contiguous() for w in (tensors.conv_weight, tensors.out_weight)
        )
        shape = {**_shape(call), "sizes": sizes._replace(T=1)}
        self._plan = _plan(_machine, "StackStream", **shape)
        self._packed = torch.empty(self._plan.weight_bytes, dtype=torch.uint8, device=like.device)
        _launch(
            self._plan.pack,
            like,
            conv_weight=address_of(conv_weight),
            out_weight=address_of(out_weight),
            packed=self._packed.data_ptr(),
        )
        self._conv_bias, self._out_bias = (
            None if b is None else _copy(b) for b in (tensors.conv_bias, tensors.out_bias)
        )
        self._rows = [(sizes.K - 1) * dilation for dilation in call.settings.dilations]
        self._state = like.new_zeros(sizes.B, sum(self._rows), sizes.R)
        self._heard = like.new_zeros(sizes.B, dtype=torch.int64)

    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        outputs = self._call.with_chunk(x, cond).empty_outputs()
        assert outputs.residual is not None and outputs.skip is not None
        x, cond = _aligned(x), _aligned(cond)
        _launch(
            self._plan.step,
            x,
            B=x.shape[0],
            T=x.shape[2],
            x=rows_of(x),
            packed=self._packed.data_ptr(),
            conv_bias=address_of(self._conv_bias),
            out_bias=address_of(self._out_bias),
            cond=rows_of(cond),
            residual_scale=self._call.settings.residual_scale,
            state=address_of(self._state),
            positions=self._heard.data_ptr(),
            residual=rows_of(outputs.residual),
            skip=rows_of(outputs.skip),
        )
        return outputs.residual, outputs.skip

    def reset(self) -> None:
        self._state.zero_()
        self._heard.zero_()

    def state(self) -> Tensor:
        # A ring begins as many rows further on as were heard, which the device alone knows.
        rings = []
        for ring in self._state.split(self._rows, 1):
            rows = torch.arange(ring.shape[1], device=ring.device)
            oldest_first = (rows + self._heard[:1]) % max(1, ring.shape[1])
            rings.append(ring.index_select(1, oldest_first))
        return torch.cat(rings, 1)

    def load_state(self, state: Tensor) -> None:
        self._state.copy_(state)
        self._heard.zero_()


def stream(call: Call) -> _Stream:
    return _Stream(call)


def _launch(function: Callable[..., None], like: Tensor, /, **arguments: Any) -> None:
    """On the tensor's device and its current stream."""
    with _machine.current(like.device):
        function(stream=_machine.stream(like), **arguments)


class _Prepared:
    """A call's tensors as the kernels take them; holds what it had to copy."""

    def __init__(self, call: Call) -> None:
        tensors = call.tensors
        conv_weight, conv_bias, out_weight, out_bias = (
            None if weight is None else weight.contiguous() for weight in tensors.weights()
        )
        x, cond = _aligned(tensors.x), _aligned(tensors.cond)
        held = Tensors(x, conv_weight, conv_bias, out_weight, out_bias, cond)
        self._held = held
        self.tensors: Any = _machine.module.StackTensors(
            **held.for_kernels(), residual_scale=call.settings.residual_scale
        )

    def workspace(self, size: int) -> Tensor:
        """Memory for the length of a call."""
        return torch.empty(size, dtype=torch.uint8, device=self._held.x.device)


def _shape(call: Call) -> dict[str, Any]:
    """What plans of the call are found by."""
    return {
        "device": call.tensors.x.device,
        "dtype": call.tensors.x.dtype,
        "sizes": call.sizes,
        "dilations": call.settings.dilations,
        "same_padding": call.settings.padding == "same",
        "way": tuple((name, value) for name, value in _way.get().items() if name != "fuse"),
    }


@functools.lru_cache(maxsize=256)
def _plan(
    machine: Machine,
    kind: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    sizes: Sizes,
    dilations: tuple[int, ...],
    same_padding: bool,
    way: tuple[tuple[str, Any], ...] = (),
    **wanted: bool,
) -> Any:
    """How calls of such sizes are computed: made once, as it takes longer than a launch.

    A way that such sizes can't go is left for the planner's own: what calibration decides on holds
    for more than the one size that it was timed at.
    """
    shape_of = functools.partial(
        machine.module.StackShape,
        dtype=_DTYPES[dtype],
        **sizes._asdict(),
        dilations=dilations,
        same_padding=same_padding,
    )
    plan_of = functools.partial(getattr(machine.module, kind), **wanted)
    where = machine.module.Device.at(device.index or 0)
    with machine.current(device):  # which loads kernels
        if way:
            with contextlib.suppress(ValueError):
                return plan_of(shape=shape_of(**dict(way)), device=where)
        return plan_of(shape=shape_of(), device=where)


# Plans beside the planner's own, by what they keep to (csrc/cuda/plan.h, Limits): narrower slabs
# need fewer registers, and weights in a ring less shared memory, so that more blocks run at once;
# smaller tiles fill more multiprocessors, or have two buffers; a layer a launch computes no halo
# twice; a backward of three kernels in place of one keeps no sums. What a device makes of that, it
# is to tell.
_WAYS: tuple[Configuration, ...] = (
    {"slab": 64},
    {"rows": 128},
    {"rows": 64},
    {"layers": 1},
    {"ring": True},
    {"fuse": False},
)
_way: ContextVar[Configuration] = ContextVar("way", default=MappingProxyType({}))


def configurations(call: Call) -> list[Configuration]:
    """The ways that lead to other launches for the call."""
    if call.operator not in ("gated_conv1d", "residual_stack"):
        return []
    seen: list[object] = [_launches(call)]
    found = []
    for way in _WAYS:
        with configured(way):
            launches = _launches(call)
        if launches not in seen:
            seen.append(launches)
            found.append(way)
    return found


@contextmanager
def configured(configuration: Configuration) -> Iterator[None]:
    token = _way.set(configuration)
    try:
        yield
    finally:
        _way.reset(token)


def _launches(call: Call) -> list[str]:
    """Those of inference, and of a training step."""
    tensors, shape = call.tensors, _shape(call)
    outputs = tensors.out_weight is not None
    residual = outputs and call.settings.last_residual
    wanted = {"residual": residual, "skip": outputs and call.sizes.S > 0}
    plans = [
        _plan(_machine, "StackForward", **shape, **wanted, keep=keep) for keep in (False, True)
    ]
    fuse = _fuses(tensors.cond, tensors.x)
    plans.append(_plan(_machine, "StackBackward", **shape, **wanted, fuse=fuse))
    return list(map(repr, plans))


def _fuses(cond: Tensor | None, x: Tensor) -> bool:
    """Whether a layer's backward may be a single launch, which adds nothing up over time."""
    possible = cond is None or cond.shape[2] == x.shape[2] > 1
    return possible and bool(_way.get().get("fuse", True))


def _no_room(call: Call) -> str | None:
    """Whether a chip lacks the shared memory for such channels, which the plans know."""
    stream = call.operator == "residual_stack_stream"
    return _plan_refusal(
        _machine,
        call.tensors.x.device,
        call.tensors.x.dtype,
        call.sizes._replace(B=1, T=1),
        call.settings.dilations if stream else (1,),
        stream,
        call.tensors.out_weight is not None,
    )


@functools.lru_cache(maxsize=256)
def _plan_refusal(
    machine: Machine,
    device: torch.device,
    dtype: torch.dtype,
    sizes: Sizes,
    dilations: tuple[int, ...],
    stream: bool,
    outputs: bool,
) -> str | None:
    make = functools.partial(
        _plan,
        machine,
        device=device,
        dtype=dtype,
        sizes=sizes,
        dilations=dilations,
        same_padding=False,
    )
    skip = outputs and sizes.S > 0
    try:
        if stream:
            make("StackStream")
        else:
            make("StackForward", residual=outputs, skip=skip, keep=False)
            make("StackBackward", residual=outputs, skip=skip, fuse=False)
    except ValueError as error:
        return f"can't compute this: {error}; the triton backend may"
    return None


@overload
def _aligned(x: Tensor) -> Tensor: ...
@overload
def _aligned(x: Tensor | None) -> Tensor | None: ...
def _aligned(x: Tensor | None) -> Tensor | None:
    """Channels last, and every row on a boundary of 16 bytes: x itself, or a copy of it."""
    x = channels_last(x)
    if x is None or x.numel() == 0:
        return x
    batch, _, time = x.stride()
    strides = (batch if x.shape[0] > 1 else 0), (time if x.shape[2] > 1 else 0)
    if x.data_ptr() % 16 == 0 and all(s * x.element_size() % 16 == 0 for s in strides):
        return x
    return _copy(x.transpose(1, 2)).transpose(1, 2)


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)


def _unfitting(sizes: Sizes) -> str | None:
    """The products of the stacks are made of tiles of fixed sizes; times are counted in 31 bits."""
    if sizes.T >= _MOST_TIMES:
        return f"takes clips of less than 2^31 times, not of {sizes.T}; cut them into shorter ones"
    got = (sizes.R, sizes.D, sizes.S, sizes.K)
    fitting = (
        min((n for n in _CHANNELS if n >= sizes.R), default=_CHANNELS[-1]),
        min((n for n in _CHANNELS if n >= sizes.D), default=_CHANNELS[-1]),
        min(-(-sizes.S // 16) * 16, _MOST_SKIP),
        min(sizes.K, _MOST_TAPS),
    )
    if fitting == got:
        return None
    return (
        "has no kernels for R={}, D={}, S={}, K={}; the nearest that it has are for R={}, D={}, "
        "S={}, K={}, and the triton backend takes any".format(*got, *fitting)
    )
