// The operators on a GPU, as the bindings call them: launched on `stream`, of the device that is current, which the
// caller sees to. Everything about the tensors is in the Layer (layer.h); dtype decides the instance.
#pragma once

#include <cuda_runtime_api.h>

#include "layer.h"

namespace wavenet::cuda {

// z from a and cond (float32, bfloat16 or float16).
void gated_activation(const Layer& layer, cudaStream_t stream);

// grad_a (B, T, 2D) from the gradient of z, with a and cond as in forward. The gradient of cond is grad_a, or
// its sum over time.
void gated_activation_backward(const Layer& layer, const Rows& grad_z, const Rows& grad_a, cudaStream_t stream);

// Loads the kernels of both (load.h).
template <class T>
void load_gated_activation();

// Whether this build holds code for the current device: cudaSuccess, or why not.
cudaError_t find_code();

}  // namespace wavenet::cuda
