// The instructions of AVX-512 and of both VNNI extensions that quantized_kernels.cpp asks for, as Intel's guide to
// intrinsics describes them, for a processor with AVX2: included before that source, with one of
//
//   EMULATE_AVXVNNI   EMULATE_AVX512BW   EMULATE_AVX512VNNI
//
// it makes the kernels that a compiler makes of the extension's flag, with functions in the place of its intrinsics.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace emulated {

// VPDPBUSD: "multiply groups of 4 adjacent pairs of unsigned 8-bit integers in a with corresponding signed 8-bit
// integers in b, producing 4 intermediate signed 16-bit results; sum these with the corresponding 32-bit integer".
template <class Vector>
__attribute__((always_inline)) inline Vector dpbusd(Vector sums, Vector a, Vector b) {
  int32_t to[sizeof(Vector) / 4];
  uint8_t x[sizeof(Vector)];
  int8_t w[sizeof(Vector)];
  std::memcpy(to, &sums, sizeof to), std::memcpy(x, &a, sizeof x), std::memcpy(w, &b, sizeof w);
  for (unsigned i = 0; i < sizeof(Vector); ++i) to[i / 4] += static_cast<int16_t>(int{x[i]} * int{w[i]});
  std::memcpy(&sums, to, sizeof to);
  return sums;
}

// An instruction of 512 bits that is one of 256 on each half.
template <class Half, class Vector, class Instruction>
__attribute__((always_inline)) inline Vector halves(Vector a, Vector b, const Instruction& instruction) {
  Half x[2], y[2];
  std::memcpy(x, &a, sizeof x), std::memcpy(y, &b, sizeof y);
  for (int i = 0; i < 2; ++i) x[i] = instruction(x[i], y[i]);
  std::memcpy(&a, x, sizeof x);
  return a;
}

// VPMOVDB: "convert packed 32-bit integers in a to packed 8-bit integers with truncation".
template <class Vector>
__attribute__((always_inline)) inline __m128i lowest_bytes(Vector a) {
  uint32_t from[16];
  uint8_t to[16];
  std::memcpy(from, &a, sizeof from);
  for (int i = 0; i < 16; ++i) to[i] = static_cast<uint8_t>(from[i]);
  __m128i bytes;
  std::memcpy(&bytes, to, sizeof to);
  return bytes;
}

// VMOVUPS: "load (store) packed single-precision floating-point elements using (zero)mask".
template <class Vector>
__attribute__((always_inline)) inline Vector load_masked(unsigned mask, const float* from) {
  Vector to = {};
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) to[i] = from[i];
  }
  return to;
}
template <class Vector>
__attribute__((always_inline)) inline void store_masked(float* to, unsigned mask, Vector v) {
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) to[i] = v[i];
  }
}

}  // namespace emulated

#if defined(EMULATE_AVXVNNI)
#define __AVXVNNI__ 1
#define _mm256_dpbusd_avx_epi32(sums, a, b) emulated::dpbusd<__m256i>(sums, a, b)
#else
#define __AVX512F__ 1
#define __AVX512BW__ 1
#define EMULATED_HALVES(Half, name, a, b) \
  emulated::halves<Half>(a, b, [](Half x, Half y) __attribute__((always_inline)) { return name(x, y); })
#define _mm512_maskz_cvtepi32_epi8(mask, a) emulated::lowest_bytes(a)
#define _mm512_maskz_loadu_ps(mask, from) emulated::load_masked<__m512>(mask, from)
#define _mm512_mask_storeu_ps(to, mask, v) emulated::store_masked<__m512>(to, mask, v)
#define _mm512_maskz_max_epi32(mask, a, b) EMULATED_HALVES(__m256i, _mm256_max_epi32, a, b)
#define _mm512_maskz_max_ps(mask, a, b) EMULATED_HALVES(__m256, _mm256_max_ps, a, b)
#define _mm512_maskz_min_ps(mask, a, b) EMULATED_HALVES(__m256, _mm256_min_ps, a, b)
#if defined(EMULATE_AVX512VNNI)
#define __AVX512VNNI__ 1
#define _mm512_dpbusd_epi32(sums, a, b) emulated::dpbusd<__m512i>(sums, a, b)
#else
#define _mm512_add_epi16(a, b) EMULATED_HALVES(__m256i, _mm256_add_epi16, a, b)
#define _mm512_madd_epi16(a, b) EMULATED_HALVES(__m256i, _mm256_madd_epi16, a, b)
#define _mm512_maddubs_epi16(a, b) EMULATED_HALVES(__m256i, _mm256_maddubs_epi16, a, b)
#define _mm512_set1_epi16(value) ((__m512i)(value - EmulatedShorts{}))
typedef int16_t EmulatedShorts __attribute__((vector_size(64)));
#endif
#endif
