// A kernel's launch, checked: the one place where kernels start, on a GPU or in tests/simt; and how it is loaded.
#pragma once

#include <utility>

#include "cuda/errors.h"
#include "cuda/intrinsics.cuh"

namespace wavenet::cuda {

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
#ifdef WAVENET_SIMT
  simt::launch(kernel, grid, block, shared_bytes, std::forward<Arguments>(arguments)...);
#else
  kernel<<<grid, block, shared_bytes, stream>>>(std::forward<Arguments>(arguments)...);
#endif
  check(cudaGetLastError(), name);
}

// Loads a kernel onto the current device (load.h), with as much shared memory as a block may have.
template <class... Parameters>
void load_kernel(const char* name, void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, kernel), name);
  int device = 0, most = 0;
  check(cudaGetDevice(&device), name);
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), name);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most), name);
}

}  // namespace wavenet::cuda
