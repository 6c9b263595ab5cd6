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
template <class T>
__device__ inline void load_biases(float* to, const void* from, int count) {
  for (int i = threadIdx.x; i < count; i += kThreads) to[i] = from ? to_float(static_cast<const T*>(from)[i]) : 0;
}

// The sums of a convolution start with its bias: loaded before the product, not after it. pair_of(c) has those of
// channels c and c + 1; c0: the first of the channels.
template <class S, int GROUPS, class Pairs>
__device__ inline void start_with_gate_bias(Accumulators<S, GROUPS>& sums, const Place<S>& place, int c0, int D,
                                            Pairs pair_of) {
#pragma unroll
  for (int g = 0; g < GROUPS; ++g) {
    const int c = c0 + place.group(g) * 8 + place.column();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Floats<2> pair = c < D ? pair_of(half * D + c) : Floats<2>{};
#pragma unroll
      for (int f = 0; f < S::kRows; ++f)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[f][g][half][i] = pair.values[i % 2];
    }
  }
}

// The same of a 1x1: outputs o0 and on, of `outputs`.
template <class S, class Pairs>
__device__ inline void start_with_bias(Accumulators<S, S::kGroups>& sums, const Place<S>& place, int o0, int outputs,
                                       Pairs pair_of) {
#pragma unroll
  for (int g = 0; g < S::kGroups; ++g) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int o = o0 + place.group(g) * 16 + half * 8 + place.column();
      const Floats<2> pair = o < outputs ? pair_of(o) : Floats<2>{};
#pragma unroll
      for (int f = 0; f < S::kRows; ++f)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[f][g][half][i] = pair.values[i % 2];
    }
  }
}

// Of biases in shared memory.
struct SharedPairs {
  const float* biases;
  __device__ Floats<2> operator()(int i) const { return load<float, 2>(biases + i); }
};

// Adds conditioning to the sums of fragment f, group g. c is the first of this thread's two channels, t2 the times of
// its two rows (-1: none); filters are sums[0], gates sums[1].
template <class T>
__device__ inline void add_conditioning(float (&sums)[2][4], const Rows& cond, int64_t b, const int (&t2)[2],
                                        int c, int D) {
  if (!cond.data) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      if (t2[row] < 0) continue;
      const Floats<2> v = load<T, 2>(row_at<const T>(cond, b, t2[row]) + half * D + c);
      sums[half][2 * row] += v.values[0], sums[half][2 * row + 1] += v.values[1];
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
