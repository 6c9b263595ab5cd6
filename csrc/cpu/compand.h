// Mu-law companding of samples, f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu) for x clipped to [-1, 1], as
// wavenet/audio/mulaw.py has it. Included by isa.cpp, of floats only.
#pragma once

// ln(1 + y) of finite y >= 0, to a unit in the last place. By fdlibm's method: 1 + y = 2^n (1 + f) with 1 + f between the
// roots of 1/2 and 2, and what rounding to 1 + y lost is added as the logarithm's slope has it.
inline Vector log1p_of(Vector y) {
  constexpr uint32_t kRootOfHalf = 0x3f3504f3, kMantissa = 0x007fffff;
  constexpr float kLn2High = 6.9313812256e-01f, kLn2Low = 9.0580006145e-06f;
  typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
  const Vector u = 1.0f + y, lost = (y - (u - 1.0f)) / u;
  const Bits from_root = to_bits(u) - kRootOfHalf;
  const Vector n = __builtin_convertvector((Ints)from_root >> 23, Vector);
  const Vector f = from_bits((from_root & kMantissa) + kRootOfHalf) - 1.0f;
  const Vector s = f / (2.0f + f), z = s * s, w = z * z;
  const Vector r = w * (0.40000972152f + w * 0.24279078841f) + z * (0.66666662693f + w * 0.28498786688f);
  const Vector half = 0.5f * f * f;
  return s * (half + r) + (n * kLn2Low + lost) - half + f + n * kLn2High;
}

// Of `count` finite samples.
inline void compand(const float* x, int64_t count, float mu, float* to) {
  const float whole = __builtin_log1pf(mu);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vector sample = load_first(x + i, count - i);
    const Vector magnitude = at_most(1.0f, from_bits(to_bits(sample) & ~kSign));
    store_first(to + i, with_sign(log1p_of(mu * magnitude) / whole, sample), count - i);
  }
}
