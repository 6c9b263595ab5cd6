// wgmma, Hopper's product of a warpgroup: 64 rows, 16 of each of its four warps, times up to 128 columns. Only code for
// sm_90a has it; everything else multiplies by mma.sync, whose fragments of rows and of sums are the same.
//
// Rows come from registers, as tiles are shifted by single rows from tap to tap, which no descriptor of shared memory
// can say. Weights come straight from the slab (packing.h), which is swizzled as wgmma wants it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace wavenet::cuda {

// A slab's place in shared memory, which must be a multiple of 1024, as a descriptor: rows of 128 swizzled bytes, eight
// of them in 1024. Moving on by a step of the contraction adds kStepOfDescriptor.
constexpr uint64_t kStepOfDescriptor = 32 / 16;
__device__ inline uint64_t slab_descriptor(uint32_t shared_address) {
  constexpr uint64_t kSwizzled128 = uint64_t(1) << 62, kEightRows = uint64_t(1024 / 16) << 32;
  return kSwizzled128 | kEightRows | uint64_t(shared_address >> 4 & 0x3fff);
}

// The same of rows of the contraction that have 64 columns each, swizzled likewise; the next 64 are `next` bytes on.
__device__ inline uint64_t rows_descriptor(uint32_t shared_address, int next) {
  return slab_descriptor(shared_address) | uint64_t(next >> 4) << 16;
}

// Registers may be read and written by what follows. Before the first product after a change of them.
__device__ inline void warpgroup_arrive() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ inline void warpgroup_wait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

// v stays in a register: what it was made of is not asked again.
__device__ inline int kept(int v) {
  asm volatile("" : "+r"(v));
  return v;
}

#define WAVENET_SUMS8(d, i)                                                                                    \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define WAVENET_SUMS16(d, i) WAVENET_SUMS8(d, i), WAVENET_SUMS8(d, i + 8)
#define WAVENET_SUMS32(d, i) WAVENET_SUMS16(d, i), WAVENET_SUMS16(d, i + 16)
#define WAVENET_SUMS64(d, i) WAVENET_SUMS32(d, i), WAVENET_SUMS32(d, i + 32)

#define WAVENET_NAMES8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WAVENET_NAMES16 WAVENET_NAMES8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define WAVENET_NAMES32 \
  WAVENET_NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WAVENET_NAMES64                                                                                     \
  WAVENET_NAMES32                                                                                           \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, " \
  "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// SHAPE_TYPES: m64n..k...f32.type.type; A, DESCRIPTOR: names of those operands; TAIL: whether b is transposed.
#define WAVENET_PRODUCT(COUNT, SHAPE_TYPES, A, DESCRIPTOR, TAIL)                                             \
  asm volatile("wgmma.mma_async.sync.aligned." SHAPE_TYPES " {" WAVENET_NAMES##COUNT "}, {" A "}, " DESCRIPTOR \
               ", 1, 1, 1" TAIL ";"                                                                          \
               : WAVENET_SUMS##COUNT(d, 0)                                                                   \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(descriptor))
#define WAVENET_PRODUCTS(K, TYPES, TAIL)                                                             \
  if constexpr (COLUMNS == 16) {                                                                     \
    WAVENET_PRODUCT(8, "m64n16" K TYPES, "%8, %9, %10, %11", "%12", TAIL);                           \
  } else if constexpr (COLUMNS == 32) {                                                              \
    WAVENET_PRODUCT(16, "m64n32" K TYPES, "%16, %17, %18, %19", "%20", TAIL);                        \
  } else if constexpr (COLUMNS == 64) {                                                              \
    WAVENET_PRODUCT(32, "m64n64" K TYPES, "%32, %33, %34, %35", "%36", TAIL);                        \
  } else {                                                                                           \
    static_assert(COLUMNS == 128);                                                                   \
    WAVENET_PRODUCT(64, "m64n128" K TYPES, "%64, %65, %66, %67", "%68", TAIL);                       \
  }

// d += a b, without waiting: a is this warp's 16 rows, as mma has them, b COLUMNS rows of a slab, d its sums of all of
// them, 8 columns after 8, as mma has each. Nothing of it may be touched until warpgroup_wait().
template <class T, int COLUMNS>
__device__ inline void warpgroup_multiply(float* d, const uint32_t (&a)[4], uint64_t descriptor) {
  if constexpr (sizeof(T) == 4) {
    WAVENET_PRODUCTS("k8", ".f32.tf32.tf32", "")
  } else if constexpr (__is_same(T, __half)) {
    WAVENET_PRODUCTS("k16", ".f32.f16.f16", ", 0")
  } else {
    WAVENET_PRODUCTS("k16", ".f32.bf16.bf16", ", 0")
  }
}

// The same of 64 or 128 columns of 16 rows of the contraction, in 16 bits.
template <class T, int COLUMNS>
__device__ inline void warpgroup_multiply_rows(float* d, const uint32_t (&a)[4], uint64_t descriptor) {
  if constexpr (__is_same(T, __half)) {
    WAVENET_PRODUCTS("k16", ".f32.f16.f16", ", 1")
  } else {
    WAVENET_PRODUCTS("k16", ".f32.bf16.bf16", ", 1")
  }
}

#undef WAVENET_PRODUCTS
#undef WAVENET_PRODUCT
#undef WAVENET_NAMES64
#undef WAVENET_NAMES32
#undef WAVENET_NAMES16
#undef WAVENET_NAMES8
#undef WAVENET_SUMS64
#undef WAVENET_SUMS32
#undef WAVENET_SUMS16
#undef WAVENET_SUMS8

}  // namespace wavenet::cuda
