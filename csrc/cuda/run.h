// Calls the instance of a function for a dtype; float32 is computed in TF32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "layer.h"

#define WAVENET_RUN(function, arguments, dtype, stream)                           \
  switch (dtype) {                                                                \
    case DType::bfloat16:                                                         \
      function<__nv_bfloat16>(arguments, #function, stream);                      \
      break;                                                                      \
    case DType::float16:                                                          \
      function<__half>(arguments, #function, stream);                             \
      break;                                                                      \
    default:                                                                      \
      function<float>(arguments, #function, stream);                              \
  }
