"""residual_stack_stream: the causal stack over one chunk of a longer signal, for inference."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wavenet_kernels.ops._invoke import integers, invoke, refuse_tensor
from wavenet_kernels.ops._register import register_stream


def residual_stack_stream(
    x: Tensor,
    state: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilations: Sequence[int],
    residual_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The causal `residual_stack` fed a signal in chunks of any sizes.

    Feeding the chunks one after another, each with the state that the last one returned, equals
    feeding the whole signal at once. Inference only: differentiating it raises. Every call prepares
    the weights anew; for small chunks `wavenet_kernels.nn.StackStream` is faster.

    Args:
        x: (B, R, T), the next chunk; float32, float64, bfloat16 or float16.
        state: (B, H, R) with H = sum over layers of (K-1) * dilation: the last inputs of each
            layer, oldest first; zeros at the start of a signal.
        conv_weight, conv_bias, out_weight, out_bias, cond, dilations, residual_scale: as of
            `residual_stack`; cond (B, L*2D, T or 1) belongs to this chunk.

    Returns:
        residual (B, R, T), skip sum (B, S, T), and the state to pass with the next chunk; under
        torch.autocast all three, the state too, are in its dtype.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.
    """
    refuse_tensor("residual_stack_stream", residual_scale)
    tensors = (x, state, conv_weight, conv_bias, out_weight, out_bias, cond)
    residual, skip, new_state = invoke(
        "residual_stack_stream",
        tensors,
        integers("residual_stack_stream", "dilations", dilations),
        residual_scale,
    )
    return residual, skip, new_state


register_stream(
    "residual_stack_stream(Tensor x, Tensor state, Tensor conv_weight, Tensor? conv_bias, "
    "Tensor out_weight, Tensor? out_bias, Tensor? cond, int[] dilations, float residual_scale, "
    "str backend) -> (Tensor, Tensor, Tensor)"
)
