// The factors of products. Reals; or, where the processor has instructions for them and activations are bfloat16, cells
// of two bfloat16 in the room of one float, whose products are added to a float together. Included by isa.cpp.
#pragma once

#if WAVENET_PAIRS

constexpr int kPerCell = 2;
constexpr DType kNative = DType::bfloat16;
typedef uint16_t Stored;

#if defined(__AVX512BF16__)
inline Halves rounded(Vector v) { return (Halves)_mm512_cvtneps_pbh((__m512)v); }  // to nearest, even

// sum += the products of both halves of each cell. Subnormal numbers count as zeros.
__attribute__((always_inline)) inline Vector multiply_add(Vector sum, Vector a, Vector b) {
  return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#else  // in the place of the instructions, for tests
inline Halves rounded(Vector v) { return __builtin_convertvector(to_bfloat16(v), Halves); }
inline Vector multiply_add(Vector sum, Vector a, Vector b) {
  const Bits high = Bits{} + 0xffff0000u, x = to_bits(a), y = to_bits(b);
  sum += from_bits(x & high) * from_bits(y & high);
  return sum + from_bits(x << 16) * from_bits(y << 16);
}
#endif

inline Vector broadcast_cell(const Real* cell) {
  uint32_t both;
  __builtin_memcpy(&both, cell, sizeof both);
  return from_bits(both - Bits{});
}

// The numbers of two vectors, side by side.
inline Vector in_cells(Vector low, Vector high) {
  return from_bits(__builtin_convertvector(rounded(low), Bits) | __builtin_convertvector(rounded(high), Bits) << 16);
}

// As many cells as a vector holds from what is stored, the first n channels alone (n may be none, or more than there
// are); the others are 0.
inline Vector load_cells(const Stored* from, int64_t n) {
  if (n >= 2 * kLanes) return load(reinterpret_cast<const Real*>(from));
  Stored there[2 * kLanes] = {};
  for (int64_t i = 0; i < n; ++i) there[i] = from[i];
  return load(reinterpret_cast<const Real*>(there));
}

inline Vector load_stored(const Stored* from) {
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return from_bfloat16(__builtin_convertvector(halves, Bits));
}
inline void store_stored(Stored* to, Vector v) {
  const Halves halves = rounded(v);
  __builtin_memcpy(to, &halves, sizeof halves);
}
inline void store_first_stored(Stored* to, Vector v, int64_t n) {
  if (n >= kLanes) return store_stored(to, v);
  const Halves halves = rounded(v);
  for (int64_t i = 0; i < n; ++i) to[i] = halves[i];
}

#else

constexpr int kPerCell = 1;
constexpr DType kNative = kDouble ? DType::float64 : DType::float32;
typedef Real Stored;

__attribute__((always_inline)) inline Vector multiply_add(Vector sum, Vector a, Vector b) { return sum + a * b; }
inline Vector broadcast_cell(const Real* cell) { return broadcast(*cell); }
inline Vector load_cells(const Stored* from, int64_t n) { return load_first(from, n); }
inline Vector load_stored(const Stored* from) { return load(from); }
inline void store_stored(Stored* to, Vector v) { store(to, v); }
inline void store_first_stored(Stored* to, Vector v, int64_t n) { store_first(to, v, n); }

#endif

inline int64_t cells_of(int64_t channels) { return ceil_div(channels, kPerCell); }
constexpr int kChannelsAtOnce = kLanes * kPerCell;  // of a vector of cells
