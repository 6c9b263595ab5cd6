// From a dtype to the type of its elements in kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <stdexcept>
#include <string>

#include "layer.h"

namespace wavenet::cuda {

// Calls f with a value of the type, which says which instance is meant.
template <class F>
void with_type(DType dtype, const char* name, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::bfloat16:
      return f(__nv_bfloat16{});
    case DType::float16:
      return f(__half{});
    default:
      throw std::invalid_argument(std::string(name) + ": no instance for this dtype");
  }
}

}  // namespace wavenet::cuda
