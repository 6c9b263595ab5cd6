// Fragments for products over rows, sum over t of left[t] right[t]^T: operands whose contraction is over the rows
// that they lie in. `at` is row 0 of the 32 bytes of contraction of one mma (16 rows, or 8 of 32 bits), channel 0 of
// 16.
#pragma once

#include "cuda/intrinsics.cuh"

namespace wavenet::cuda {

// For mma's a.
template <class T>
__device__ inline void load_left(uint32_t (&fragment)[4], const char* at, int pitch, int lane) {
  if constexpr (sizeof(T) == 2) {
    load_matrices_transposed(fragment, at + (lane / 16 * 8 + lane % 8) * pitch + lane / 8 % 2 * 16);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      fragment[i] =
          *reinterpret_cast<const uint32_t*>(at + (lane % 4 + i / 2 * 4) * pitch + (lane / 4 + i % 2 * 8) * 4);
  }
}

// For two of mma's b, 8 channels each.
template <class T>
__device__ inline void load_right(uint32_t (&fragment)[4], const char* at, int pitch, int lane) {
  if constexpr (sizeof(T) == 2) {
    load_matrices_transposed(fragment, at + lane % 16 * pitch + lane / 16 * 16);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      fragment[i] =
          *reinterpret_cast<const uint32_t*>(at + (lane % 4 + i % 2 * 4) * pitch + (lane / 4 + i / 2 * 8) * 4);
  }
}

}  // namespace wavenet::cuda
