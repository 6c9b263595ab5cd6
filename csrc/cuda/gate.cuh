// The gate on what the convolution left in the accumulators: a block of 8 filters beside its 8 gates.
#pragma once

#include "cuda/product.cuh"
#include "cuda/tile.cuh"
#include "cuda/vector.cuh"

namespace wavenet::cuda {

// tanh(f) and sigmoid(g). For 16-bit types the hardware's tanh, whose error is a quarter of theirs or less; else by
// exponentials, which overflow to where the limits are right.
template <class T>
__device__ inline void gate(float f, float g, float& tanh, float& sigma) {
  if constexpr (sizeof(T) == 2) {
    tanh = approximate_tanh(f);
    sigma = 0.5f * approximate_tanh(0.5f * g) + 0.5f;
  } else {
    tanh = 1 - 2 / (__expf(2 * f) + 1);
    sigma = 1 / (__expf(-g) + 1);
  }
}

template <class T>
__device__ inline float element(const T* from, int i) {
  return from ? to_float(from[i]) : 0;
}

// Adds bias and conditioning to the sums of fragment f, group g: what the gate is of. c is the first of this thread's two
// channels, t2 the times of its two rows (-1: none); filters are sums[0], gates sums[1].
template <class T>
__device__ inline void add_conditions(float (&sums)[2][4], const T* bias, const Rows& cond, int64_t b,
                                      const int64_t (&t2)[2], int c, int D) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int channel = half * D + c;
    const float bias0 = element(bias, channel), bias1 = element(bias, channel + 1);
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[half][i] += i % 2 ? bias1 : bias0;
    if (!cond.data) continue;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      if (t2[row] < 0) continue;
      const Floats<2> v = load<T, 2>(row_at<const T>(cond, b, t2[row]) + channel);
      sums[half][2 * row] += v.values[0], sums[half][2 * row + 1] += v.values[1];
    }
  }
}

// The times of a thread's two rows of fragment f.
template <class S>
__device__ inline void times_of(int64_t (&t2)[2], const Tiling& tiling, const Tile& tile, const Place<S>& place, int f) {
#pragma unroll
  for (int row = 0; row < 2; ++row) t2[row] = time_of(tiling, tile, place.row_of(f, 2 * row));
}

// z of a thread's two rows, 8 rows apart from `at` on, from the sums of its two channels.
template <class T>
__device__ inline void store_gates(const float (&sums)[2][4], char* at, int pitch) {
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    Floats<2> z;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float tanh, sigma;
      gate<T>(sums[0][2 * row + i], sums[1][2 * row + i], tanh, sigma);
      z.values[i] = tanh * sigma;
    }
    store<T, 2>(reinterpret_cast<T*>(at + row * 8 * pitch), z);
  }
}

// What goes back through the gate at two neighbouring channels, and z again.
struct GateSlopes {
  Floats<2> filter{}, gate{}, z{};

  template <class T>
  __device__ void set(int i, float f, float g, float grad_z) {
    float tanh, sigma;
    cuda::gate<T>(f, g, tanh, sigma);
    filter.values[i] = grad_z * sigma * (1 - tanh * tanh);
    gate.values[i] = grad_z * tanh * sigma * (1 - sigma);
    z.values[i] = tanh * sigma;
  }
};

}  // namespace wavenet::cuda
