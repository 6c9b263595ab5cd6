// Activations as they lie in memory: Reals, or bfloat16 and float16 that become floats when loaded and are rounded
// to nearest even when stored. Included by isa.cpp.
#pragma once

#if !WAVENET_DOUBLE
inline Bits load_halves(const void* data, int64_t at, int64_t n) {
  const uint16_t* from = static_cast<const uint16_t*>(data) + at;
  Halves halves = {};
  if (n >= kLanes) {
    __builtin_memcpy(&halves, from, sizeof halves);
  } else {
    for (int64_t i = 0; i < n; ++i) halves[i] = from[i];
  }
  return __builtin_convertvector(halves, Bits);
}
#endif

#if WAVENET_DOUBLE || WAVENET_FORWARD_ONLY  // no other types

inline Vector load_as(DType, const void* data, int64_t at, int64_t n) {
  return load_first(static_cast<const Real*>(data) + at, n);
}
inline void store_as(DType, void* data, int64_t at, Vector v, int64_t n) {
  store_first(static_cast<Real*>(data) + at, v, n);
}

#else

inline void store_halves(void* data, int64_t at, Bits bits, int64_t n) {
  uint16_t* to = static_cast<uint16_t*>(data) + at;
  const Halves halves = __builtin_convertvector(bits, Halves);
  if (n >= kLanes) {
    __builtin_memcpy(to, &halves, sizeof halves);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = halves[i];
  }
}

// Moves the exponent by a multiplication, which sets subnormal halves right as well (unless the processor was told to
// take subnormal floats for zeros, torch.set_flush_denormal).
inline Vector from_float16(Bits h) {
  const Bits magnitude = (h & 0x7fffu) << 13;
  const Bits finite = to_bits(from_bits(magnitude) * 0x1p112f);
  const Bits special = magnitude | 0x7f800000u;
  return from_bits(((h & 0x7c00u) == 0x7c00u ? special : finite) | ((h & 0x8000u) << 16));
}

inline Bits to_float16(Vector v) {
  const Bits sign = to_bits(v) & 0x80000000u, u = to_bits(v) ^ sign;
  const Bits normal = (u + ((15u - 127u) << 23) + 0xfffu + ((u >> 13) & 1u)) >> 13;
  // Adding 1/2 leaves the subnormal half, rounded, in the low bits of the mantissa.
  const Bits subnormal = to_bits(from_bits(u) + 0.5f) - 0x3f000000u;
  const Bits special = u > 0x7f800000u ? (Bits{} + 0x7e00u) : (Bits{} + 0x7c00u);
  const Bits half = u >= 0x47800000u ? special : (u < 0x38800000u ? subnormal : normal);
  return half | (sign >> 16);
}

// n elements from `at` on (n may be none, or more than a vector holds).
inline Vector load_as(DType dtype, const void* data, int64_t at, int64_t n) {
  if (dtype == DType::float32) return load_first(static_cast<const Real*>(data) + at, n);
  const Bits halves = load_halves(data, at, n);
  return dtype == DType::bfloat16 ? from_bfloat16(halves) : from_float16(halves);
}

inline void store_as(DType dtype, void* data, int64_t at, Vector v, int64_t n) {
  if (dtype == DType::float32) return store_first(static_cast<Real*>(data) + at, v, n);
  store_halves(data, at, dtype == DType::bfloat16 ? to_bfloat16(v) : to_float16(v), n);
}

#endif

// As storing and loading leave it.
inline Vector as_stored([[maybe_unused]] DType dtype, Vector v) {
#if WAVENET_PAIRS
  return from_bfloat16(__builtin_convertvector(rounded(v), Bits));
#elif WAVENET_DOUBLE || WAVENET_FORWARD_ONLY
  return v;
#else
  if (dtype == DType::float32) return v;
  return dtype == DType::bfloat16 ? from_bfloat16(to_bfloat16(v)) : from_float16(to_float16(v));
#endif
}

inline int64_t offset(const Rows& rows, int64_t b, int64_t t) {
  return b * rows.batch_stride + t * rows.time_stride;
}

// What is not a whole vector of Reals side by side; apart, so that the rest is small enough to be inlined.
__attribute__((noinline)) inline Vector load_row_slowly(const Rows& rows, DType dtype, int64_t at, int64_t n) {
  if (rows.channel_stride == 1) return load_as(dtype, rows.data, at, n);
  Vector v = {};
  for (int64_t i = 0; i < n && i < kLanes; ++i) v[i] = load_as(dtype, rows.data, at + i * rows.channel_stride, 1)[0];
  return v;
}

__attribute__((noinline)) inline void store_row_slowly(const Rows& rows, DType dtype, int64_t at, Vector v, int64_t n) {
  store_as(dtype, rows.data, at, v, n);
}

// Channels from `first` on of a row, `n` of them at most.
__attribute__((always_inline)) inline Vector load_row(const Rows& rows, DType dtype, int64_t b, int64_t t, int64_t first, int64_t n) {
  const int64_t at = offset(rows, b, t) + first * rows.channel_stride;
  if (rows.channel_stride == 1 && dtype == kNative && n >= kLanes) {
    return load_stored(static_cast<const Stored*>(rows.data) + at);
  }
  return load_row_slowly(rows, dtype, at, n);
}

__attribute__((always_inline)) inline void store_row(const Rows& rows, DType dtype, int64_t b, int64_t t, int64_t first, Vector v, int64_t n) {
  const int64_t at = offset(rows, b, t) + first;
  if (dtype == kNative && n >= kLanes) return store_stored(static_cast<Stored*>(rows.data) + at, v);
  store_row_slowly(rows, dtype, at, v, n);
}

// The same of what is not read again soon, where a vector is a cache line: past the caches, into which the line would
// first be read and where something else would make room for it. The thread that stored calls end_stores_for_later()
// before another reads it. (Sanitizers don't see such stores.)
inline void store_row_for_later(const Rows& rows, DType dtype, int64_t b, int64_t t, int64_t first, Vector v, int64_t n) {
#if defined(__AVX512F__) && !WAVENET_PAIRS && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  Stored* to = static_cast<Stored*>(rows.data) + offset(rows, b, t) + first;
  if (dtype == kNative && n >= kLanes && reinterpret_cast<uintptr_t>(to) % 64 == 0) {
    return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)v);
  }
#endif
  store_row(rows, dtype, b, t, first, v, n);
}

inline void end_stores_for_later() {
#if defined(__AVX512F__)
  _mm_sfence();
#endif
}

// kLanes vectors of kLanes become those of their first, second, ... lanes: log2(kLanes) perfect shuffles of the
// kLanes^2 values, each of which turns the binary address, vector and lane, by one bit.
template <int... I>
inline void shuffle(const Vector& a, const Vector& b, std::integer_sequence<int, I...>, Vector* to) {
#if !defined(__clang__) && __GNUC__ < 12
  typedef decltype(a < b) Lanes;
  to[0] = __builtin_shuffle(a, b, Lanes{(I % 2 * kLanes + I / 2)...});
  to[1] = __builtin_shuffle(a, b, Lanes{(I % 2 * kLanes + I / 2 + kLanes / 2)...});
#else
  to[0] = __builtin_shufflevector(a, b, (I % 2 * kLanes + I / 2)...);
  to[1] = __builtin_shufflevector(a, b, (I % 2 * kLanes + I / 2 + kLanes / 2)...);
#endif
}

inline void transpose(Vector* v) {
  WAVENET_UNROLL for (int n = 1; n < kLanes; n *= 2) {
    Vector turned[kLanes];
    WAVENET_UNROLL for (int i = 0; i < kLanes / 2; ++i) {
      shuffle(v[i], v[i + kLanes / 2], std::make_integer_sequence<int, kLanes>(), turned + 2 * i);
    }
    WAVENET_UNROLL for (int i = 0; i < kLanes; ++i) v[i] = turned[i];
  }
}

constexpr int64_t kBlockRun = 2 * kLanes;  // times that all channels' blocks are gone through before later ones

// Channels from `first` on, `channels` of them at most, of rows t, t + 1, ...: at most `rows` and kLanes vectors.
// Never inlined: it is long, and calls are few.
__attribute__((noinline)) inline void load_block(const Rows& from, DType dtype, int64_t b, int64_t t, int64_t rows,
                                                 int64_t first, int64_t channels, Vector* to) {
  if (from.channel_stride == 1 || from.time_stride != 1) {
    for (int64_t i = 0; i < smaller(rows, kLanes); ++i) to[i] = load_row(from, dtype, b, t + i, first, channels);
    return;
  }
  for (int64_t i = 0; i < kLanes; ++i) {
    const int64_t at = offset(from, b, t) + (first + i) * from.channel_stride;
    to[i] = i < channels ? load_as(dtype, from.data, at, rows) : Vector{};
    // So many channels at once are more than the processor foresees.
    __builtin_prefetch(static_cast<const char*>(from.data) + (at + kBlockRun) * storage_bytes(dtype));
  }
  transpose(to);
}

// Calls work(t, rows, first) for all blocks of `channels` channels of rows [begin, end), in an order that uses whole
// cache lines of channels whose times are side by side.
template <class Work>
inline void for_blocks(int64_t begin, int64_t end, int64_t channels, const Work& work) {
  for (int64_t run = begin; run < end; run += kBlockRun) {
    for (int64_t first = 0; first < channels; first += kLanes) {
      for (int64_t t = run; t < smaller(run + kBlockRun, end); t += kLanes) work(t, smaller(end - t, kLanes), first);
    }
  }
}

void copy_rows(const Rows& from, int64_t b, int64_t begin, int64_t end, int64_t channels, DType dtype, const Rows& to) {
  for_blocks(begin, end, channels, [&](int64_t t, int64_t rows, int64_t first) {
    Vector block[kLanes];
    load_block(from, dtype, b, t, rows, first, channels - first, block);
    for (int64_t i = 0; i < rows; ++i) store_row(to, dtype, b, t + i, first, block[i], channels - first);
  });
}
