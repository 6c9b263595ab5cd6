// The gate on what the convolution left in the accumulators: a block of 8 filters beside its 8 gates.
#pragma once

#include "cuda/product.cuh"
#include "cuda/tile.cuh"
#include "cuda/vector.cuh"

namespace wavenet::cuda {

// tanh(f) and sigmoid(g). The hardware's tanh is good enough for 16 bits: its relative error is a quarter of
// bfloat16's rounding, and half's own. A sigmoid made of it would be wrong where gates are nearly shut, so that is by
// the exponential, which overflows to where the limit is right. Neither needs numbers that are not normal.
template <class T>
__device__ inline void gate(float f, float g, float& tanh, float& sigma) {
  if constexpr (sizeof(T) == 2) {
    tanh = approximate_tanh(f);
  } else {
    tanh = tanhf(f);
  }
  constexpr float kLog2e = 1.4426950408889634f;
  sigma = approximate_reciprocal(1 + approximate_exp2(-kLog2e * g));
}

// Biases of a block's layers as floats in its shared memory, where they are loaded once. Absent ones are zeros.
template <class T, int THREADS = kThreads>
__device__ inline void load_biases(float* to, const void* from, int count) {
  for (int i = threadIdx.x; i < count; i += THREADS) to[i] = from ? to_float(static_cast<const T*>(from)[i]) : 0;
}

// The sums of a convolution start with its bias: loaded before the product, not after it. four_of(c) has those of
// channels c to c + 3; c0: the first of the channels.
template <class S, class Fours>
__device__ inline void start_with_gate_bias(Accumulators<S, S::kGroups>& sums, const Place<S>& place, int c0, int D,
                                            Fours four_of) {
#pragma unroll
  for (int p = 0; p < S::kGroups / 2; ++p) {
    const int c = c0 + place.pair(p) * 16 + place.fourth();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Floats<4> four = c < D ? four_of(half * D + c) : Floats<4>{};
#pragma unroll
      for (int f = 0; f < S::kRows; ++f)
#pragma unroll
        for (int i = 0; i < 8; ++i) sums[f][2 * p + i / 4][half][i % 4] = four.values[i / 4 * 2 + i % 2];
    }
  }
}

// The same of a 1x1: outputs o0 and on, of `outputs`.
template <class S, class Fours>
__device__ inline void start_with_bias(Accumulators<S, S::kGroups>& sums, const Place<S>& place, int o0, int outputs,
                                       Fours four_of) {
#pragma unroll
  for (int g = 0; g < S::kGroups; ++g) {
    const int o = o0 + place.group(g) * 16 + place.fourth();
    const Floats<4> four = o < outputs ? four_of(o) : Floats<4>{};
#pragma unroll
    for (int f = 0; f < S::kRows; ++f)
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[f][g][i / 4][i % 4] = four.values[i / 4 * 2 + i % 2];
  }
}

// Of biases in shared memory.
struct SharedBiases {
  const float* biases;
  __device__ Floats<4> operator()(int i) const { return load<float, 4>(biases + i); }
};

// Adds conditioning. c is the first of the four channels, t2 the times of the two rows (-1: none).
template <class T>
__device__ inline void add_conditioning(const Pair& pair, const Rows& cond, int64_t b, const int (&t2)[2], int c,
                                        int D) {
  if (!cond.data) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      if (t2[row] < 0) continue;
      const Floats<4> v = load<T, 4>(row_at<const T>(cond, b, t2[row]) + half * D + c);
#pragma unroll
      for (int i = 0; i < 4; ++i) pair.at(half, row, i) += v.values[i];
    }
  }
}

// The times of a thread's two rows of fragment f.
template <class S>
__device__ inline void times_of(int (&t2)[2], const Tiling& tiling, const Tile& tile, const Place<S>& place,
                                int f) {
#pragma unroll
  for (int row = 0; row < 2; ++row) t2[row] = time_of(tiling, tile, place.row_of(f, 2 * row));
}

// z of a thread's two rows, 8 rows apart from `at` on.
template <class T>
__device__ inline void store_gates(const Pair& pair, char* at, int pitch) {
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    Floats<4> z;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float tanh, sigma;
      gate<T>(pair.at(0, row, i), pair.at(1, row, i), tanh, sigma);
      z.values[i] = tanh * sigma;
    }
    store<T, 4>(reinterpret_cast<T*>(at + row * 8 * pitch), z);
  }
}

// What goes back through the gate at four neighbouring channels, and z again.
struct GateSlopes {
  Floats<4> filter{}, gate{}, z{};

  template <class T>
  __device__ void set(int i, float f, float g, float grad_z) {
    float tanh, sigma;
    cuda::gate<T>(f, g, tanh, sigma);
    filter.values[i] = grad_z * sigma * (1 - tanh * tanh);
    gate.values[i] = grad_z * sigma * tanh * (1 - sigma);
    z.values[i] = tanh * sigma;
  }
};

}  // namespace wavenet::cuda
