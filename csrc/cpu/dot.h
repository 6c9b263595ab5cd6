// Dot products of bytes, as vectors of int32. Included by quantized_kernels.cpp.
#pragma once

typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));  // also of 4 bytes each

inline Integers load_integers(const char* from) {
  Integers v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

// The same four bytes for every output.
inline Integers four_bytes(const uint8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return four - Integers{};
}

inline Vector to_floats(Integers v) { return __builtin_convertvector(v, Vector); }

inline Integers greater_of(Integers a, Integers b) {
#if defined(__AVX512F__)
  return (Integers)_mm512_maskz_max_epi32(0xffff, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Integers)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
  return a > b ? a : b;
#endif
}

inline int32_t greatest(Integers v) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
  __m256i halves[2];
  __builtin_memcpy(halves, &v, sizeof v);
  const __m256i eight = _mm256_max_epi32(halves[0], halves[1]);
#else
  const __m256i eight = (__m256i)v;
#endif
  const __m256i pairs = _mm256_max_epi32(eight, _mm256_permute2x128_si256(eight, eight, 1));
  const __m256i fours = _mm256_max_epi32(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
  return _mm256_cvtsi256_si32(_mm256_max_epi32(fours, _mm256_shuffle_epi32(fours, 0xb1)));
#elif defined(__aarch64__)
  return vmaxvq_s32((int32x4_t)v);
#else
  int32_t most = v[0];
  for (int i = 1; i < kLanes; ++i) most = v[i] > most ? v[i] : most;
  return most;
#endif
}

// The lowest byte of each.
inline void store_bytes(uint8_t* to, Bits bits) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
#if defined(__AVX512F__)  // one instruction, which GCC 12 doesn't find
  const Bytes bytes = (Bytes)_mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)bits);
#elif defined(__AVX2__)
  const __m256i lowest = _mm256_set1_epi32(0x0c080400), fours = _mm256_shuffle_epi8((__m256i)bits, lowest);
  const __m256i eight = _mm256_permutevar8x32_epi32(fours, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
  const int64_t moved = _mm_cvtsi128_si64(_mm256_castsi256_si128(eight));
  const Bytes bytes = (Bytes)moved;
#else
  const Bytes bytes = __builtin_convertvector(bits, Bytes);
#endif
  __builtin_memcpy(to, &bytes, sizeof bytes);
}

// sums += x . v + y . w, of four bytes each: x and y from 0 to 127, v and w from -64 to 64.
inline Integers add_products(Integers sums, Integers x, Integers v, Integers y, Integers w) {
#if defined(__AVX512VNNI__)
  sums = (Integers)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)x, (__m512i)v);
  return (Integers)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)y, (__m512i)w);
#elif defined(__AVX512BW__)
  const __m512i pairs = _mm512_add_epi16(_mm512_maddubs_epi16((__m512i)x, (__m512i)v),
                                         _mm512_maddubs_epi16((__m512i)y, (__m512i)w));
  return sums + (Integers)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(__AVXVNNI__)
  sums = (Integers)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)x, (__m256i)v);
  return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)y, (__m256i)w);
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16((__m256i)x, (__m256i)v),
                                         _mm256_maddubs_epi16((__m256i)y, (__m256i)w));
  return sums + (Integers)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  return (Integers)vdotq_s32(vdotq_s32((int32x4_t)sums, (int8x16_t)x, (int8x16_t)v), (int8x16_t)y, (int8x16_t)w);
#elif defined(__aarch64__)
  const int8x16_t a = (int8x16_t)x, b = (int8x16_t)v, c = (int8x16_t)y, d = (int8x16_t)w;
  const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vget_low_s8(c), vget_low_s8(d));
  const int16x8_t high = vmlal_high_s8(vmull_high_s8(a, b), c, d);
  return (Integers)vpadalq_s16((int32x4_t)sums, vpaddq_s16(low, high));
#else
  typedef int8_t Bytes __attribute__((vector_size(kVectorBytes)));
  const Bytes a = (Bytes)x, b = (Bytes)v, c = (Bytes)y, d = (Bytes)w;
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 4 * i; j < 4 * i + 4; ++j) sums[i] += a[j] * b[j] + c[j] * d[j];
  }
  return sums;
#endif
}
