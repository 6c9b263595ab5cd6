// A kernel's launch, checked: the one place where kernels start, on a GPU or in tests/simt.
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

// A launch of a kernel that takes one structure and, perhaps, more shared memory than there is unasked. What is asked
// for is always all that a block may have: the setting is the kernel's, and other threads launch it too.
template <class Arguments>
void launch_with_shared(const char* name, void (*kernel)(Arguments), dim3 grid, dim3 block, size_t shared_bytes,
                        cudaStream_t stream, const Arguments& arguments) {
  int device = 0, most = 0;
  check(cudaGetDevice(&device), name);
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), name);
  const auto function = reinterpret_cast<const void*>(kernel);
  check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, most), name);
  launch(name, kernel, grid, block, shared_bytes, stream, arguments);
}

}  // namespace wavenet::cuda
