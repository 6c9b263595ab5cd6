// Calls the instance of a function for a dtype; float32 is computed in TF32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "layer.h"

#define WAVENET_RUN(function, arguments, dtype, stream)                                    \
  {                                                                                        \
    if ((dtype) == DType::float32) {                                                       \
      function<float>(arguments, #function, stream);                                       \
    } else {                                                                               \
      WAVENET_RUN_16_BIT(function, arguments, dtype, stream)                               \
    }                                                                                      \
  }

#define WAVENET_RUN_16_BIT(function, arguments, dtype, stream)                             \
  {                                                                                        \
    if ((dtype) == DType::bfloat16) {                                                      \
      function<__nv_bfloat16>(arguments, #function, stream);                               \
    } else {                                                                               \
      function<__half>(arguments, #function, stream);                                      \
    }                                                                                      \
  }
