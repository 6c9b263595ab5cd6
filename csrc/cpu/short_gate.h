// gate.h with as many digits as 8 bits ask for, of integers or of bfloat16: within 1e-4 of z, relatively, in half the
// instructions. Included by quantized_kernels.cpp and isa.cpp.
#pragma once

// 2^(y) - 1 of -126 < y < 0 or so, and the power of two nearest to it, in two parts: 2^y - 1 = p * power + (power - 1).
// p is a minimax polynomial (fitted to relative error by Lawson iteration): 1.5e-5 at most.
struct Power {
  Vector p, power;
};

inline Power exp2_in_parts(Vector y) {
  constexpr float kRound = 12582912.0f + 127;  // 1.5 * 2^23: its lowest bits are the exponent of the power
  const Vector shifted = y + kRound, r = y - (shifted - kRound);
  const Vector p = r * (((r * 9.61811e-3f + 5.583729e-2f) * r + 2.4023252e-1f) * r + 6.9313686e-1f);
  return {p, from_bits(to_bits(shifted) << 23)};
}

// NaN stays. (Masked forms: GCC 12 warns of what the others leave undefined in its own header.)
inline Vector greater(float low, Vector v) {
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_max_ps(0xffff, (__m512)broadcast(low), (__m512)v);
#elif defined(__AVX2__)
  return (Vector)_mm256_max_ps((__m256)broadcast(low), (__m256)v);
#else
  return at_least(low, v);
#endif
}
inline Vector lesser(float high, Vector v) {
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_min_ps(0xffff, (__m512)broadcast(high), (__m512)v);
#elif defined(__AVX2__)
  return (Vector)_mm256_min_ps((__m256)broadcast(high), (__m256)v);
#else
  return at_most(high, v);
#endif
}

// exp(-2|f|) - 1 and exp(-g) + 1.
struct Exponentials {
  Vector less, more;

  Exponentials(Vector f, Vector g) {
    constexpr float kLog2e = 1.44269504f;
    const Vector magnitude = from_bits(to_bits(f) & ~kSign);
    const Power e = exp2_in_parts(greater(-60.0f, magnitude * (-2.0f * kLog2e)));
    const Power s = exp2_in_parts(lesser(120.0f, greater(-60.0f, g * -kLog2e)));
    less = e.p * e.power + (e.power - 1.0f);
    more = s.p * s.power + (s.power + 1.0f);
  }
};

inline Vector short_gate(Vector f, Vector g) {
  const Exponentials e(f, g);
  return with_sign(e.less / ((e.less + 2.0f) * e.more), f);
}

inline GateAndSlopes short_gate_and_slopes(Vector f, Vector g) {
  const Exponentials e(f, g);
  const Vector both = 1.0f / ((e.less + 2.0f) * e.more);  // one division for two
  const Vector tanh = with_sign(e.less * e.more * both, f), sigmoid = (e.less + 2.0f) * both;
  const Vector z = tanh * sigmoid;
  return {z, sigmoid * (1.0f - tanh * tanh), z * (1.0f - sigmoid)};
}
