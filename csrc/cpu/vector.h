// A vector of Reals as wide as the instruction set this file is compiled for, in the notation of GCC's and Clang's
// vector extensions. Included by isa.cpp and quantized_kernels.cpp inside the namespace of the instruction set and
// type.
#pragma once

#if defined(__AVX512F__) || WAVENET_TILES
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
typedef WAVENET_REAL Real;  // float or double
constexpr int kLanes = kVectorBytes / sizeof(Real);
constexpr bool kDouble = sizeof(Real) == 8;

typedef Real Vector __attribute__((vector_size(kVectorBytes)));

#if !WAVENET_DOUBLE
typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));

inline Vector from_bits(Bits bits) { return (Vector)bits; }
inline Bits to_bits(Vector v) { return (Bits)v; }

// bfloat16 in the lower halves.
inline Vector from_bfloat16(Bits h) { return from_bits(h << 16); }

inline Bits to_bfloat16(Vector v) {
  const Bits u = to_bits(v);
  const Bits rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return v == v ? rounded : ((u >> 16) | 0x40u);  // a NaN stays one
}
#endif

inline Vector broadcast(Real value) { return value - Vector{}; }  // minus 0 keeps -0

inline Vector load(const Real* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

inline void store(Real* to, Vector v) { __builtin_memcpy(to, &v, sizeof v); }

// The first n lanes alone (n may be none, or more than there are); the others read as 0.
inline Vector load_first(const Real* from, int64_t n) {
  if (n >= kLanes) return load(from);
#if WAVENET_MASKS
  return (Vector)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << (n < 0 ? 0 : n)) - 1), from);
#endif
  Vector v = {};
  for (int64_t i = 0; i < n; ++i) v[i] = from[i];
  return v;
}

inline void store_first(Real* to, Vector v, int64_t n) {
  if (n >= kLanes) return store(to, v);
#if WAVENET_MASKS
  return _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << (n < 0 ? 0 : n)) - 1), (__m512)v);
#endif
  for (int64_t i = 0; i < n; ++i) to[i] = v[i];
}

// Whether all lanes are zero: of a sum of things times zero, whether all of them were finite.
inline bool all_zero(Vector v) {
  bool zero = true;
  for (int i = 0; i < kLanes; ++i) zero &= v[i] == 0;
  return zero;
}

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
