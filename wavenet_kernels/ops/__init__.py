"""The operators, one file each: checks, registration with torch.library, gradient."""

from wavenet_kernels.ops._flops import register_formulas
from wavenet_kernels.ops.dilated_conv1d import dilated_conv1d
from wavenet_kernels.ops.gated_activation import gated_activation
from wavenet_kernels.ops.gated_conv1d import gated_conv1d
from wavenet_kernels.ops.residual_block import residual_block
from wavenet_kernels.ops.residual_stack import residual_stack
from wavenet_kernels.ops.residual_stack_stream import residual_stack_stream

__all__ = [
    "dilated_conv1d",
    "gated_activation",
    "gated_conv1d",
    "residual_block",
    "residual_stack",
    "residual_stack_stream",
]

register_formulas()
