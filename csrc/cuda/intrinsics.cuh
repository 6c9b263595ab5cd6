// Every PTX instruction that the kernels use, wrapped once; sm_80 and later. tests/simt has the same functions for
// a CPU (WAVENET_SIMT), so nothing outside this file may be written in PTX.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define WAVENET_WARPGROUPS  // wgmma.cuh
#endif

#ifdef WAVENET_SIMT
#include "simt.h"
#else

namespace wavenet::cuda {

// The dynamic shared memory of the block, aligned to 1024 bytes, as the swizzling of wgmma is.
__device__ inline char* shared_memory() {
  extern __shared__ __align__(1024) char memory[];
  return memory;
}

__device__ inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Of a power of two.
__device__ inline int log2_of(int v) { return __popc(v - 1); }

// 16 bytes from global to shared memory, both aligned to 16, without waiting; zeros, and nothing is read, where not
// `valid`.
__device__ inline void copy_async(void* shared, const void* global, bool valid) {
  asm volatile(
      "{ .reg .pred ignored; setp.eq.u32 ignored, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, ignored; }" ::"r"(
          shared_address(shared)),
      "l"(global), "r"(static_cast<uint32_t>(valid))
      : "memory");
}

// Ends this thread's group of copies.
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the last N groups of this thread are still on their way. Other threads' copies are seen after
// a __syncthreads() that follows.
template <int N>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// What this thread has written to shared memory, copies that it has waited for as well, is seen by wgmma, where there
// is such a thing, after a barrier that follows.
__device__ inline void show_to_warpgroups() {
#ifdef WAVENET_WARPGROUPS
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Four matrices of 8 rows of 16 bytes. Lane i gives the address of row i % 8 of matrix i / 8 and receives, of each
// matrix, the 32 bits at row i / 4, word i % 4: fragments of operands that lie contraction dimension last, as
// 16-bit or as 32-bit elements.
__device__ inline void load_matrices(uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}

// The same of matrices of 8 x 8 16-bit elements, each transposed: lane i receives elements [2 (i % 4)][i / 4] and
// [2 (i % 4) + 1][i / 4].
__device__ inline void load_matrices_transposed(uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}

// d += a b on the tensor cores, in the fragments of the PTX manual: d is 16 x 8 floats, lane i holding rows i / 4
// and i / 4 + 8, columns 2 (i % 4) and the next. a is 16 rows and b 8 columns of 32 bytes of the contraction: 16
// elements of 16 bits (mma.m16n8k16) or 8 of TF32 (mma.m16n8k8).
template <class T>
__device__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

template <>
__device__ inline void mma<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ inline void mma<__half>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ inline void mma<float>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// To the nearest TF32, ties away from zero; mma ignores the bits that this clears.
__device__ inline uint32_t round_tf32(uint32_t bits) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
  return rounded;
}

// Relative error at most 2^-10.987.
__device__ inline float approximate_tanh(float v) {
  float result;
  asm("tanh.approx.f32 %0, %1;" : "=f"(result) : "f"(v));
  return result;
}

// 2^v and 1 / v to an ulp or two. Arguments and results below the normal numbers count as zeros.
__device__ inline float approximate_exp2(float v) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(v));
  return result;
}

__device__ inline float approximate_reciprocal(float v) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(v));
  return result;
}

}  // namespace wavenet::cuda

#endif
