"""What a residual stack holds at the peak of a training step: known before it is taken."""

from __future__ import annotations

from wavenet_kernels.call import gates_are_worth_keeping


def stack_floats(
    residual: int,
    dilation: int,
    kernel_size: int,
    layers: int,
    every: int,
    positions: float,
    bytes_of_float: int,
) -> float:
    """Activations of a position that a stack's forward and backward take, but for the skip sum.

    Args:
        residual, dilation, kernel_size, layers: R, D, K and L.
        every: of how many layers one input is kept, `checkpoint_every`.
        positions: of all clips together.
        bytes_of_float: of an activation; 2 in mixed precision.
    """
    floats = float(residual * len(range(0, layers, every)))
    if every > 1:  # a segment's inputs anew, and the gradients of three of them
        return floats + residual * (min(every, layers) - 1 + 3)
    # On a CPU what goes into the gates as well, in float32: beside them the gradients of the inputs
    # of two layers count.
    if bytes_of_float == 4 and gates_are_worth_keeping(
        residual, dilation, kernel_size, layers, round(positions), bytes_of_float
    ):
        floats += 2 * dilation * layers + 2 * residual
    return floats
