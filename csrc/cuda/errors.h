// Every CUDA call is checked; what went wrong names the kernel or call and carries CUDA's own words.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace wavenet::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a failed launch must not show up again in somebody else's check
  throw std::runtime_error(std::string("wavenet_kernels ") + what + ": " + cudaGetErrorString(status) + " (" +
                           cudaGetErrorName(status) + ")");
}

}  // namespace wavenet::cuda
