// A vector of floats as wide as the instruction set this file is compiled for, in the notation of GCC's and
// Clang's vector extensions. Included by isa.cpp inside the instruction set's own namespace.
#pragma once

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;  // floats in a vector

typedef float Vector __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));

inline Vector broadcast(float value) { return value - Vector{}; }  // minus 0 keeps -0

inline Vector load(const float* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vector v) { __builtin_memcpy(to, &v, sizeof v); }

// The first n lanes alone (n may be more than there are); the others read as 0.
inline Vector load_first(const float* from, int64_t n) {
  if (n >= kLanes) return load(from);
  Vector v = {};
  __builtin_memcpy(&v, from, sizeof(float) * static_cast<uint64_t>(n));
  return v;
}

inline void store_first(float* to, Vector v, int64_t n) {
  if (n >= kLanes) return store(to, v);
  __builtin_memcpy(to, &v, sizeof(float) * static_cast<uint64_t>(n));
}

inline Vector from_bits(Bits bits) { return (Vector)bits; }
inline Bits to_bits(Vector v) { return (Bits)v; }

inline Vector at_least(float low, Vector v) { return v < low ? broadcast(low) : v; }  // NaN stays
inline Vector at_most(float high, Vector v) { return v > high ? broadcast(high) : v; }

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

inline float* row(const Rows& rows, int64_t b, int64_t t) {
  return static_cast<float*>(rows.data) + b * rows.batch_stride + t * rows.time_stride;
}
