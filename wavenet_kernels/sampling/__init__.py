"""Drawing from what a network predicts: random numbers, and one value of each distribution."""

from wavenet_kernels.sampling.draws import draw_class, draw_gaussian, draw_logistic
from wavenet_kernels.sampling.philox import philox, uniforms

__all__ = ["draw_class", "draw_gaussian", "draw_logistic", "philox", "uniforms"]
