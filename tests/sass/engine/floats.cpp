// Floating point: float32, pairs of 16-bit floats, conversions.
#include <cfenv>
#include <limits>

#include "machine.h"

namespace sass {

namespace {

// GCC may not move a sum out of here, past the changes of the rounding mode.
[[gnu::noinline]] float add_product(float a, float b, float c, int rounding) {
  std::fesetround(rounding);
  volatile float result = std::fma(a, b, c);
  std::fesetround(FE_TONEAREST);
  return result;
}

bool compare(const Instruction& in, float a, float b) {
  const bool unordered = a != a || b != b;
  if (in.has(M_NUM)) return !unordered;
  if (in.has(M_NAN)) return unordered;
  if (in.has(M_LT)) return a < b;
  if (in.has(M_EQ)) return a == b;
  if (in.has(M_LE)) return a <= b;
  if (in.has(M_GT)) return a > b;
  if (in.has(M_NE)) return !unordered && a != b;
  if (in.has(M_GE)) return a >= b;
  // The same, or unordered.
  if (in.has(M_LTU)) return !(a >= b);
  if (in.has(M_EQU)) return unordered || a == b;
  if (in.has(M_LEU)) return !(a > b);
  if (in.has(M_GTU)) return !(a <= b);
  if (in.has(M_NEU)) return a != b;
  if (in.has(M_GEU)) return !(a < b);
  fail("a comparison that isn't known");
}

// Off by up to 2^-11 of the result, as the hardware may be, in a way that the bits of the argument decide.
float approximate_tanh(float v) {
  if (!std::isfinite(v)) return std::tanh(v);
  const auto hash = static_cast<int32_t>(to_bits(v) * 0x9e3779b1u);
  const float result = std::tanh(v) * (1.0f + float(hash) * 0x1p-42f);
  return std::fmin(std::fmax(result, -1.0f), 1.0f);
}

// A number rather than a NaN, and -0 is less than 0.
float smaller_or_larger(float a, float b, bool smaller) {
  if (a != a) return b;
  if (b != b) return a;
  const bool less = a < b || (a == b && std::signbit(a));
  return less == smaller ? a : b;
}

float special_function(const Instruction& in, float v) {
  if (in.has(M_RCP)) return 1 / v;
  if (in.has(M_EX2)) return std::exp2(v);
  if (in.has(M_TANH)) return approximate_tanh(v);
  if (in.has(M_LG2)) return std::log2(v);
  if (in.has(M_RSQ)) return 1 / std::sqrt(v);
  if (in.has(M_SQRT)) return std::sqrt(v);
  fail("a function that isn't known");
}

// The low one (0) or high one of a register's two numbers.
double unpack(const Operand& o, bool bfloat, uint32_t bits, int which) {
  if (o.half) which = o.half - 1;
  const uint16_t half = uint16_t(bits >> (16 * which));
  double value = bfloat ? of_bfloat(half) : of_half(half);
  if (o.absolute) value = std::fabs(value);
  return o.negate ? -value : value;
}

uint64_t to_integer(const Instruction& in, float v) {
  const bool is_signed = !in.has(M_U32) && !in.has(M_U64), wide = in.has(M_U64) || in.has(M_S64);
  if (v != v) return wide ? 1ull << 63 : 0;
  const double least = is_signed ? (wide ? -0x1p63 : -0x1p31) : 0;
  const double beyond = is_signed ? (wide ? 0x1p63 : 0x1p31) : wide ? 0x1p64 : 0x1p32;
  if (v <= least) return uint64_t(int64_t(least));
  if (v >= beyond) {
    return is_signed ? (wide ? uint64_t(std::numeric_limits<int64_t>::max()) : 0x7fffffffu) : wide ? ~0ull : kAll;
  }
  return is_signed ? uint64_t(int64_t(v)) : uint64_t(v);
}

}  // namespace

bool Warp::compute_floats(const Instruction& in, uint32_t mask) {
  const bool flushed = in.has(M_FTZ);
  const auto finish = [&](float v) {
    if (flushed) v = flush(v);
    if (in.has(M_SAT)) v = v > 0 ? v < 1 ? v : 1.0f : 0.0f;
    return to_bits(v);
  };
  const auto combine = [&](uint32_t v) {
    const uint32_t with = predicate(in.Q);
    return in.has(M_AND) ? v & with : in.has(M_OR) ? v | with : v ^ with;
  };
  switch (in.operation) {
    case OP_FADD: {
      const Floats a = floats(in.A, flushed), b = floats(in.B, flushed);
      put(in.D, for_lanes([&](int l) { return finish(a[l] + b[l]); }), mask);
      return true;
    }
    case OP_FMUL: {
      const Floats a = floats(in.A, flushed), b = floats(in.B, flushed);
      put(in.D, for_lanes([&](int l) { return finish(a[l] * b[l]); }), mask);
      return true;
    }
    case OP_FFMA: {
      const Floats a = floats(in.A, flushed), b = floats(in.B, flushed), c = floats(in.C, flushed);
      const int rounding = in.has(M_RM) ? FE_DOWNWARD : in.has(M_RP) ? FE_UPWARD : in.has(M_RZ) ? FE_TOWARDZERO : -1;
      if (rounding < 0) {
        put(in.D, for_lanes([&](int l) { return finish(std::fma(a[l], b[l], c[l])); }), mask);
      } else {
        put(in.D, for_lanes([&](int l) { return finish(add_product(a[l], b[l], c[l], rounding)); }), mask);
      }
      return true;
    }
    case OP_FSEL: {
      const Floats a = floats(in.A, flushed), b = floats(in.B, flushed);
      const uint32_t first = predicate(in.Q);
      put(in.D, for_lanes([&](int l) { return to_bits(first >> l & 1 ? a[l] : b[l]); }), mask);
      return true;
    }
    case OP_FMNMX: {
      const Floats a = floats(in.A, flushed), b = floats(in.B, flushed);
      const uint32_t smaller = predicate(in.Q);
      put(in.D, for_lanes([&](int l) {
            if (in.has(M_NAN) && (a[l] != a[l] || b[l] != b[l])) return 0x7fffffffu;
            return to_bits(smaller_or_larger(a[l], b[l], smaller >> l & 1));
          }), mask);
      return true;
    }
    case OP_FSETP: {
      const Floats a = floats(in.A, flushed), b = floats(in.B, flushed);
      const uint32_t holds = where([&](int l) { return compare(in, a[l], b[l]); });
      put_predicate(in.T, combine(holds), mask);
      put_predicate(in.U, combine(~holds), mask);
      return true;
    }
    case OP_MUFU: {
      const Floats a = floats(in.A);
      put(in.D, for_lanes([&](int l) { return to_bits(mask >> l & 1 ? special_function(in, a[l]) : 0.0f); }), mask);
      return true;
    }
    case OP_F2FP: {
      // A becomes the high one.
      const Floats a = floats(in.A), b = floats(in.B);
      put(in.D, for_lanes([&](int l) {
            return in.has(M_BF16) ? uint32_t(to_bfloat(a[l])) << 16 | to_bfloat(b[l])
                                  : uint32_t(to_half(a[l])) << 16 | to_half(b[l]);
          }), mask);
      return true;
    }
    case OP_F2F: {
      if (!in.has(M_BF16) && !in.has(M_F16)) fail("a conversion that isn't known");
      const Floats a = floats(in.A);
      put(in.D, for_lanes([&](int l) -> uint32_t { return in.has(M_BF16) ? to_bfloat(a[l]) : to_half(a[l]); }), mask);
      return true;
    }
    case OP_F2I: {
      if (!in.has(M_TRUNC)) fail("a conversion that isn't known");
      const Floats a = floats(in.A, flushed);
      Lanes64 value;
      for (int l = 0; l < 32; ++l) value[l] = to_integer(in, a[l]);
      if (in.has(M_U64) || in.has(M_S64)) {
        put_pair(in.D, value, mask);
      } else {
        put(in.D, for_lanes([&](int l) { return uint32_t(value[l]); }), mask);
      }
      return true;
    }
    case OP_I2F: {
      const bool wide = in.has(M_U64) || in.has(M_S64);
      const Lanes64 pair = wide ? pairs(in.A) : Lanes64{};
      const Lanes a = wide ? Lanes{} : integers(in.A);
      put(in.D, for_lanes([&](int l) {
            const __int128 exact = in.has(M_U64)   ? __int128(pair[l])
                                   : in.has(M_S64) ? __int128(int64_t(pair[l]))
                                   : in.has(M_U32) ? __int128(a[l])
                                                   : __int128(int32_t(a[l]));
            float near = static_cast<float>(exact);
            if (in.has(M_RP) && __int128(near) < exact) near = std::nextafter(near, INFINITY);
            return to_bits(near);
          }), mask);
      return true;
    }
    case OP_HADD2:
      if (in.has(M_F32)) {  // how a half becomes a float: -0 + half
        const Floats a = floats(in.A), b = floats(in.B);
        put(in.D, for_lanes([&](int l) { return to_bits(a[l] + b[l]); }), mask);
        return true;
      }
      [[fallthrough]];
    case OP_HMUL2:
    case OP_HFMA2: {
      const bool bfloat = in.has(M_BF16_V2);
      const Lanes a = bits(in.A), b = bits(in.B), c = bits(in.C);
      put(in.D, for_lanes([&](int l) {
            uint32_t out = 0;
            for (int which = 0; which < 2; ++which) {
              const double x = unpack(in.A, bfloat, a[l], which), y = unpack(in.B, bfloat, b[l], which);
              const double exact = in.operation == OP_HADD2   ? x + y
                                   : in.operation == OP_HMUL2 ? x * y
                                                              : x * y + unpack(in.C, bfloat, c[l], which);
              out |= uint32_t(bfloat ? to_bfloat(exact) : to_half(exact)) << (16 * which);
            }
            return out;
          }), mask);
      return true;
    }
    case OP_HSETP2: {
      // T is the low ones' comparison, U the high ones'.
      const bool bfloat = in.has(M_BF16_V2);
      const Lanes a = bits(in.A), b = bits(in.B);
      for (int which = 0; which < 2; ++which) {
        const uint32_t holds = where([&](int l) {
          return compare(in, float(unpack(in.A, bfloat, a[l], which)), float(unpack(in.B, bfloat, b[l], which)));
        });
        put_predicate(which ? in.U : in.T, combine(holds), mask);
      }
      return true;
    }
  }
  return false;
}

}  // namespace sass
