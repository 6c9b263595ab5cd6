// z = tanh(f) * sigmoid(g), with one exponential each and a single division. Included by isa.cpp and
// quantized_kernels.cpp.
//
// With h = expm1(-2|f|) / 2, tanh|f| = -h / (1 + h); and sigmoid(g) = 1 / (1 + exp(-g)). The form with expm1
// keeps full relative precision for small f, where 1 - exp would cancel; using |f| keeps every factor of
// the denominator finite. Saturates to +-1 and 0; NaN in either input gives NaN.
#pragma once

// z and what a gradient of z is multiplied by to give those of filter and gate.
struct GateAndSlopes {
  Vector z, filter, gate;
};

#if WAVENET_DOUBLE

// Meant for checks of gradients, not for speed: the C library's functions.
inline GateAndSlopes gate_and_slopes(Vector f, Vector g) {
  Vector tanh, sigmoid;
  for (int i = 0; i < kLanes; ++i) {
    tanh[i] = __builtin_tanh(f[i]);
    sigmoid[i] = 1.0 / (1.0 + __builtin_exp(-g[i]));
  }
  const Vector z = tanh * sigmoid;
  return {z, sigmoid * (1.0 - tanh * tanh), z * (1.0 - sigmoid)};
}

inline Vector gate(Vector f, Vector g) { return gate_and_slopes(f, g).z; }

#else

inline Vector at_least(float low, Vector v) { return v < low ? broadcast(low) : v; }  // NaN stays
inline Vector at_most(float high, Vector v) { return v > high ? broadcast(high) : v; }

// Splits y into n ln2 + r with |r| <= ln2 / 2 and returns p = exp(r) - 1; n comes back as the float whose low
// mantissa bits are the integer n, which is what exp2_of wants.
//
// p is a minimax polynomial (fitted to relative error by Lawson iteration in 40 digits): 1.4e-8 at most, a
// quarter of float's unit round-off. ln2 is split so that n * kLn2High is exact for any |n| < 2^15.
inline Vector expm1_reduced(Vector y, Vector& shifted_n) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  shifted_n = y * kLog2e + kRound;
  const Vector n = shifted_n - kRound;
  const Vector r = (y - n * kLn2High) - n * kLn2Low;
  Vector q = 1.3882516254e-3f * r + 8.3665471402e-3f;
  q = q * r + 4.1667200715e-2f;
  q = q * r + 1.6666543424e-1f;
  q = q * r + 4.9999998150e-1f;
  return (r * r) * q + r;
}

// 2^(n + offset) for the n of expm1_reduced, -126 <= n + offset <= 128 (128 gives infinity).
inline Vector exp2_of(Vector shifted_n, uint32_t offset) {
  return from_bits((to_bits(shifted_n) + (127u + offset)) << 23);
}

constexpr uint32_t kSign = 0x80000000u;

// The magnitude of one vector with the signs of another, those of zeros too.
inline Vector with_sign(Vector magnitude, Vector sign) {
  return from_bits((to_bits(magnitude) & ~kSign) | (to_bits(sign) & kSign));
}

// h = expm1(-2|f|) / 2. At 2|f| = 40 tanh has long been 1.
inline Vector half_expm1(Vector f) {
  Vector n;
  const Vector magnitude = from_bits(to_bits(f) & ~kSign);
  const Vector p = expm1_reduced(at_least(-40.0f, magnitude * -2.0f), n);
  const Vector half = exp2_of(n, -1u);
  return p * half + (half - 0.5f);
}

// exp(-g) from exp(-40), which vanishes beside 1, to infinity (reached before 89.5).
inline Vector exp_of_minus(Vector g) {
  Vector n;
  const Vector p = expm1_reduced(at_most(89.5f, at_least(-40.0f, -g)), n);
  return (p + 1.0f) * 2.0f * exp2_of(n, -1u);
}

inline Vector tanh_of(Vector f) {
  const Vector h = half_expm1(f);
  return with_sign(h / (h + 1.0f), f);
}

inline Vector gate(Vector f, Vector g) {
  const Vector h = half_expm1(f), e = exp_of_minus(g);
  return with_sign(h / ((h + 1.0f) * (e + 1.0f)), f);
}

inline GateAndSlopes gate_and_slopes(Vector f, Vector g) {
  const Vector tanh = tanh_of(f);
  const Vector sigmoid = 1.0f / (exp_of_minus(g) + 1.0f);
  const Vector z = tanh * sigmoid;
  return {z, sigmoid * (1.0f - tanh * tanh), z * (1.0f - sigmoid)};
}

#endif
