// 32 lanes of a register, and the number formats in it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace sass {

// Loops over all lanes, active or not, are what the compiler vectorises.
template <class T>
struct Of32 {
  alignas(64) T v[32];
  T& operator[](int lane) { return v[lane]; }
  const T& operator[](int lane) const { return v[lane]; }
};
using Lanes = Of32<uint32_t>;
using Lanes64 = Of32<uint64_t>;
using Floats = Of32<float>;

template <class F>
inline Lanes for_lanes(F f) {
  Lanes out;
  for (int l = 0; l < 32; ++l) out[l] = f(l);
  return out;
}

// The lanes of which something holds, as bits.
template <class F>
inline uint32_t where(F f) {
  uint32_t bits = 0;
  for (int l = 0; l < 32; ++l) bits |= uint32_t(bool(f(l))) << l;
  return bits;
}

inline float to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float of_bfloat(uint16_t bits) { return to_float(uint32_t(bits) << 16); }
inline float of_half(uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, 2);
  return float(value);
}
inline uint16_t to_half(double value) {  // rounds once
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return value != value ? 0x7fff : bits;
}
inline uint16_t to_bfloat(float value) {
  const uint32_t bits = to_bits(value);
  if (value != value) return 0x7fff;
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
// Rounds once: first to an odd float, of which nothing is lost that the second rounding needs.
inline uint16_t to_bfloat(double value) {
  float near = static_cast<float>(value);
  if (double(near) != value && std::isfinite(near)) {
    if (std::fabs(double(near)) > std::fabs(value)) near = std::nextafter(near, 0.0f);
    near = to_float(to_bits(near) | 1);
  }
  return to_bfloat(near);
}
inline float flush(float value) { return std::fabs(value) < 0x1p-126f ? std::copysign(0.0f, value) : value; }

}  // namespace sass
