// Several neighbouring channels of one row, moved as one access of up to 16 bytes and computed on in float.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/types.h"

namespace wavenet::cuda {

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ inline float to_float(__half v) { return __half2float(v); }

template <class T>
__device__ inline T from_float(float v);
template <>
__device__ inline float from_float<float>(float v) {
  return v;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}
template <>
__device__ inline __half from_float<__half>(float v) {
  return __float2half_rn(v);
}

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

template <int N>
struct Floats {
  float values[N];
};

template <class T, int N>
__device__ inline Floats<N> load(const T* from) {
  const auto pack = *reinterpret_cast<const Pack<T, N>*>(from);
  Floats<N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) result.values[i] = to_float(pack.values[i]);
  return result;
}

template <class T, int N>
__device__ inline void store(T* to, const Floats<N>& v) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.values[i] = from_float<T>(v.values[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

}  // namespace wavenet::cuda
