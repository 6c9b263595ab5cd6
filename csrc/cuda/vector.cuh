// Several neighbouring channels of one row, moved as one access of up to 16 bytes and computed on in float.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <string.h>

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

// What a pack is as one access: left to themselves, compilers may take it apart.
template <int BYTES>
struct Access;
template <>
struct Access<2> {
  using type = unsigned short;
};
template <>
struct Access<4> {
  using type = unsigned;
};
template <>
struct Access<8> {
  using type = uint2;
};
template <>
struct Access<16> {
  using type = uint4;
};

template <class T, int N>
using Whole = typename Access<sizeof(T) * N>::type;

template <class T, int N>
__device__ inline Floats<N> to_floats(const Whole<T, N>& whole) {
  Pack<T, N> pack;
  memcpy(&pack, &whole, sizeof pack);
  Floats<N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) result.values[i] = to_float(pack.values[i]);
  return result;
}

template <class T, int N>
__device__ inline Whole<T, N> load_whole(const T* from) {
  return *reinterpret_cast<const Whole<T, N>*>(from);
}

template <class T, int N>
__device__ inline Floats<N> load(const T* from) {
  return to_floats<T, N>(load_whole<T, N>(from));
}

template <class T, int N>
__device__ inline Whole<T, N> to_whole(const Floats<N>& v) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.values[i] = from_float<T>(v.values[i]);
  Whole<T, N> whole;
  memcpy(&whole, &pack, sizeof whole);
  return whole;
}

template <class T, int N>
__device__ inline void store(T* to, const Floats<N>& v) {
  *reinterpret_cast<Whole<T, N>*>(to) = to_whole<T, N>(v);
}

// Zeros if not `there`.
template <class T, int N>
__device__ inline void store_if(bool there, T* to, const Floats<N>& v) {
  const Whole<T, N> whole = to_whole<T, N>(v);
  *reinterpret_cast<Whole<T, N>*>(to) = there ? whole : Whole<T, N>{};
}

}  // namespace wavenet::cuda
