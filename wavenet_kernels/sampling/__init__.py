"""The sampling loop: random numbers, draws from distributions, and the loop as an operator."""

from wavenet_kernels.sampling.draws import draw_class, draw_gaussian, draw_logistic, normal_of
from wavenet_kernels.sampling.network import SampleNetwork
from wavenet_kernels.sampling.philox import check_noise, philox, uniforms
from wavenet_kernels.sampling.sampler import Sampler

__all__ = [
    "SampleNetwork",
    "Sampler",
    "check_noise",
    "draw_class",
    "draw_gaussian",
    "draw_logistic",
    "normal_of",
    "philox",
    "uniforms",
]
