// Kernels are loaded onto a device before a call needs them. CUDA would load each at its first launch, which waits for
// the device and can't be while a stream is captured: a new size may need a kernel that no size before it did.
#pragma once

#include "layer.h"

namespace wavenet::cuda {

// What an operator's calls of any sizes may launch.
enum class KernelsOf { gate, forward, backward, stream };

// Loads those of a dtype onto the current device, each with all the shared memory that a block may have; where that
// has been done, nothing happens.
void load(KernelsOf which, DType dtype);

}  // namespace wavenet::cuda
