// Moves, integers, predicates.
#include <algorithm>

#include "machine.h"

namespace sass {

namespace {

int64_t signed_product(uint32_t a, uint32_t b) { return int64_t(int32_t(a)) * int32_t(b); }

// A funnel shift: of the 64 bits (high, low), or of one of the two.
uint32_t shift(const Instruction& in, uint32_t low, uint32_t by, uint32_t high) {
  const bool wide = in.has(M_U64) || in.has(M_S64), is_signed = in.has(M_S32) || in.has(M_S64);
  const uint32_t width = wide ? 64 : 32;
  by = in.has(M_W) ? by & (width - 1) : std::min(by, width);
  const uint64_t both = uint64_t(high) << 32 | low;
  if (in.has(M_L)) {
    if (wide) {
      const uint64_t shifted = by >= 64 ? 0 : both << by;
      return in.has(M_HI) ? uint32_t(shifted >> 32) : uint32_t(shifted);
    }
    if (in.has(M_HI)) return by >= 32 ? low : uint32_t(both << by >> 32);
    return by >= 32 ? 0 : low << by;
  }
  if (wide) {
    const uint64_t shifted = is_signed ? uint64_t(int64_t(both) >> std::min(by, 63u)) : by >= 64 ? 0 : both >> by;
    return in.has(M_HI) ? uint32_t(shifted >> 32) : uint32_t(shifted);
  }
  if (!in.has(M_HI)) return uint32_t(is_signed ? uint64_t(int64_t(both) >> by) : both >> by);
  if (is_signed) return uint32_t(int32_t(high) >> std::min(by, 31u));
  return by >= 32 ? 0 : high >> by;
}

uint32_t choose_bytes(uint32_t a, uint32_t selector, uint32_t c) {
  const uint64_t bytes = uint64_t(c) << 32 | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t which = selector >> (4 * i) & 15;
    uint8_t byte = uint8_t(bytes >> (8 * (which & 7)));
    if (which & 8) byte = byte & 0x80 ? 0xff : 0;  // its sign
    out |= uint32_t(byte) << (8 * i);
  }
  return out;
}

// One of the 256 functions of three bits, in each bit: bit (a, b, c) of the table.
uint32_t look_up(uint32_t table, uint32_t a, uint32_t b, uint32_t c) {
  uint32_t out = 0;
  for (int i = 0; i < 8; ++i) {
    if (table >> i & 1) out |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  }
  return out;
}

bool compare(const Instruction& in, int64_t a, int64_t b) {
  if (in.has(M_LT)) return a < b;
  if (in.has(M_EQ)) return a == b;
  if (in.has(M_LE)) return a <= b;
  if (in.has(M_GT)) return a > b;
  if (in.has(M_NE)) return a != b;
  if (in.has(M_GE)) return a >= b;
  return false;  // F
}

// Where the upper words are equal, the lower ones' comparison decides.
bool compare_further(const Instruction& in, int64_t a, int64_t b, bool lower) {
  if (in.has(M_EQ)) return a == b && lower;
  if (in.has(M_NE)) return a != b || lower;
  if (a == b) return lower;
  return in.has(M_LT) || in.has(M_LE) ? a < b : a > b;
}

uint32_t extend(const Instruction& in, uint32_t a, uint32_t width) {
  if (width >= 32) return a;
  if (width == 0) return 0;
  const uint32_t mask = (1u << width) - 1;
  return !in.has(M_U32) && a >> (width - 1) & 1 ? a | ~mask : a & mask;
}

uint32_t find_leading(const Instruction& in, uint32_t a) {
  if (!in.has(M_U32) && int32_t(a) < 0) a = ~a;
  if (!a) return ~0u;
  return in.has(M_SH) ? __builtin_clz(a) : 31 - __builtin_clz(a);
}

uint32_t reverse(uint32_t a) {
  uint32_t out = 0;
  for (int i = 0; i < 32; ++i) out |= (a >> i & 1) << (31 - i);
  return out;
}

}  // namespace

bool Warp::move_and_compute(const Instruction& in, uint32_t mask) {
  switch (in.operation) {
    case OP_MEMBAR:  // accesses here are in order
      return true;
    case OP_MOV:
    case OP_R2UR:
      put(in.D, integers(in.A), mask);
      return true;
    case OP_IMAD: {
      // MOV, IADD and SHL only say what it is used for.
      const Lanes a = integers(in.A), b = integers(in.B);
      const uint32_t carry = in.has(M_X) ? predicate(in.Q, false) : 0;
      if (!in.has(M_WIDE) && !in.has(M_HI)) {
        const Lanes c = integers(in.C);
        const uint32_t out = where([&](int l) {
          return (uint64_t(a[l] * b[l]) + c[l] + (carry >> l & 1)) >> 32;
        });
        put(in.D, for_lanes([&](int l) { return a[l] * b[l] + c[l] + (carry >> l & 1); }), mask);
        put_predicate(in.T, out, mask);
        return true;
      }
      const Lanes64 c = pairs(in.C);
      Lanes64 sum;
      uint32_t out = 0;
      for (int l = 0; l < 32; ++l) {
        const uint64_t product = in.has(M_U32) ? uint64_t(a[l]) * b[l] : uint64_t(signed_product(a[l], b[l]));
        const unsigned __int128 all = (unsigned __int128)product + c[l] + (carry >> l & 1);
        sum[l] = uint64_t(all);
        out |= uint32_t(all >> 64 != 0) << l;
      }
      if (in.has(M_HI)) {
        put(in.D, for_lanes([&](int l) { return uint32_t(sum[l] >> 32); }), mask);
      } else {
        put_pair(in.D, sum, mask);
      }
      put_predicate(in.T, out, mask);
      return true;
    }
    case OP_IADD3: {
      if (in.has(M_64)) {
        const Lanes64 a = pairs(in.A), b = pairs(in.B), c = pairs(in.C);
        Lanes64 sum;
        for (int l = 0; l < 32; ++l) sum[l] = a[l] + b[l] + c[l];
        put_pair(in.D, sum, mask);
        return true;
      }
      if (!in.has(M_X) && in.T.kind == NONE && in.U.kind == NONE) {
        const Lanes a = integers(in.A), b = integers(in.B), c = integers(in.C);
        put(in.D, for_lanes([&](int l) { return a[l] + b[l] + c[l]; }), mask);
        return true;
      }
      // For carries -x counts as 2^32 - x, but an absent operand as nothing: T is a carry of at least 1, U of 2.
      const auto wide = [&](const Operand& o) {
        const Lanes v = o.negate ? bits(o) : integers(o);
        Lanes64 out;
        for (int l = 0; l < 32; ++l) out[l] = o.negate && !o.is_zero() ? (1ull << 32) - v[l] : v[l];
        return out;
      };
      const Lanes64 a = wide(in.A), b = wide(in.B), c = wide(in.C);
      const uint32_t carry = in.has(M_X) ? predicate(in.Q, false) : 0;
      const uint32_t second = in.has(M_X) ? predicate(in.R, false) : 0;
      Lanes64 sum;
      for (int l = 0; l < 32; ++l) sum[l] = a[l] + b[l] + c[l] + (carry >> l & 1) + (second >> l & 1);
      put(in.D, for_lanes([&](int l) { return uint32_t(sum[l]); }), mask);
      put_predicate(in.T, where([&](int l) { return sum[l] >> 32 >= 1; }), mask);
      put_predicate(in.U, where([&](int l) { return sum[l] >> 32 >= 2; }), mask);
      return true;
    }
    case OP_LEA: {
      // (a << e) + b; with HI the upper word of (c, a) << e, or of a's sign and a. Of b - (a << e) the carry says that
      // nothing was borrowed, as IADD3's does.
      const bool minus = in.A.negate;
      if ((minus && in.has(M_HI)) || (in.B.negate && in.T.kind != NONE)) fail("LEA of such a difference");
      const Lanes a = minus ? bits(in.A) : integers(in.A), b = integers(in.B), c = integers(in.C), e = bits(in.E);
      const uint32_t carry = in.has(M_X) ? predicate(in.Q, false) : 0;
      Lanes64 sum;
      for (int l = 0; l < 32; ++l) {
        const uint32_t by = e[l] & 31;
        const uint64_t wide = in.has(M_SX32) ? uint64_t(int64_t(int32_t(a[l]))) : uint64_t(c[l]) << 32 | a[l];
        const uint32_t shifted = in.has(M_HI) ? uint32_t(wide << by >> 32) : a[l] << by;
        sum[l] = (minus ? (1ull << 32) - shifted : shifted) + b[l] + (carry >> l & 1);
      }
      put(in.D, for_lanes([&](int l) { return uint32_t(sum[l]); }), mask);
      put_predicate(in.T, where([&](int l) { return sum[l] >> 32; }), mask);
      return true;
    }
    case OP_LOP3: {
      const Lanes a = integers(in.A), b = integers(in.B), c = integers(in.C);
      const uint32_t table = uint32_t(in.E.value);
      const Lanes out = for_lanes([&](int l) { return look_up(table, a[l], b[l], c[l]); });
      put(in.D, out, mask);
      put_predicate(in.T, where([&](int l) { return out[l] != 0; }) | predicate(in.Q, false), mask);
      return true;
    }
    case OP_SHF: {
      const Lanes a = integers(in.A), b = integers(in.B), c = integers(in.C);
      put(in.D, for_lanes([&](int l) { return shift(in, a[l], b[l], c[l]); }), mask);
      return true;
    }
    case OP_SHL: {
      const Lanes a = integers(in.A), b = integers(in.B);
      put(in.D, for_lanes([&](int l) {
            const uint32_t by = in.has(M_W) ? b[l] & 31 : b[l];
            return by >= 32 ? 0 : a[l] << by;
          }), mask);
      return true;
    }
    case OP_PRMT: {
      const Lanes a = integers(in.A), b = integers(in.B), c = integers(in.C);
      put(in.D, for_lanes([&](int l) { return choose_bytes(a[l], b[l], c[l]); }), mask);
      return true;
    }
    case OP_SGXT: {
      const Lanes a = integers(in.A), b = integers(in.B);
      put(in.D, for_lanes([&](int l) { return extend(in, a[l], b[l]); }), mask);
      return true;
    }
    case OP_IABS: {
      const Lanes a = integers(in.A);
      put(in.D, for_lanes([&](int l) { return int32_t(a[l]) < 0 ? -a[l] : a[l]; }), mask);
      return true;
    }
    case OP_POPC: {
      const Lanes a = integers(in.A);
      put(in.D, for_lanes([&](int l) { return __builtin_popcount(a[l]); }), mask);
      return true;
    }
    case OP_FLO: {
      const Lanes a = integers(in.A);
      put(in.D, for_lanes([&](int l) { return find_leading(in, a[l]); }), mask);
      return true;
    }
    case OP_BREV: {
      const Lanes a = integers(in.A);
      put(in.D, for_lanes([&](int l) { return reverse(a[l]); }), mask);
      return true;
    }
    case OP_MNMX:
    case OP_VIADDMNMX: {
      // The smaller where Q holds; VIADDMNMX compares a + b with c.
      const bool sum = in.operation == OP_VIADDMNMX;
      Lanes a = integers(in.A);
      const Lanes b = integers(sum ? in.C : in.B);
      if (sum) {
        const Lanes more = integers(in.B);
        for (int l = 0; l < 32; ++l) a[l] += more[l];
      }
      const uint32_t smaller = predicate(in.Q);
      put(in.D, for_lanes([&](int l) {
            const bool less = in.has(M_U32) ? a[l] < b[l] : int32_t(a[l]) < int32_t(b[l]);
            return less == bool(smaller >> l & 1) ? a[l] : b[l];
          }), mask);
      return true;
    }
    case OP_SEL: {
      const Lanes a = integers(in.A), b = integers(in.B);
      const uint32_t first = predicate(in.Q);
      put(in.D, for_lanes([&](int l) { return first >> l & 1 ? a[l] : b[l]; }), mask);
      return true;
    }
    case OP_ISETP: {
      const Lanes a = integers(in.A), b = integers(in.B);
      const uint32_t lower = predicate(in.R), with = predicate(in.Q);
      const uint32_t holds = where([&](int l) {
        const int64_t x = in.has(M_U32) ? int64_t(a[l]) : int32_t(a[l]);
        const int64_t y = in.has(M_U32) ? int64_t(b[l]) : int32_t(b[l]);
        return in.has(M_EX) ? compare_further(in, x, y, lower >> l & 1) : compare(in, x, y);
      });
      const auto combine = [&](uint32_t v) { return in.has(M_AND) ? v & with : in.has(M_OR) ? v | with : v ^ with; };
      put_predicate(in.T, combine(holds), mask);
      put_predicate(in.U, combine(~holds), mask);
      return true;
    }
    case OP_PLOP3: {
      const uint32_t a = predicate(in.A), b = predicate(in.B), c = predicate(in.C);
      put_predicate(in.T, look_up(uint32_t(in.E.value), a, b, c), mask);
      put_predicate(in.U, look_up(uint32_t(in.Q.value), a, b, c), mask);
      return true;
    }
    case OP_P2R: {
      // The predicates' bits that B selects, the others from A.
      const Lanes a = integers(in.A), b = integers(in.B);
      put(in.D, for_lanes([&](int l) {
            uint32_t all = 0;
            for (int i = 0; i < PT; ++i) all |= (p[i] >> l & 1) << i;
            return (all & b[l]) | (a[l] & ~b[l]);
          }), mask);
      return true;
    }
    case OP_R2P: {
      const Lanes a = integers(in.A), b = integers(in.B);
      for (int i = 0; i < PT; ++i) {
        const uint32_t chosen = mask & where([&](int l) { return b[l] >> i & 1; });
        p[i] = (p[i] & ~chosen) | (chosen & where([&](int l) { return a[l] >> i & 1; }));
      }
      return true;
    }
    case OP_VOTE: {
      const uint32_t votes = predicate(in.Q) & mask;
      const bool holds = in.has(M_ANY) ? votes != 0 : in.has(M_ALL) ? votes == mask : votes == 0 || votes == mask;
      put(in.D, for_lanes([&](int) { return votes; }), mask);
      put_predicate(in.T, holds ? kAll : 0, mask);
      return true;
    }
    case OP_ELECT:
      put_predicate(in.T, mask & -mask, mask);
      return true;
    case OP_SHFL: {
      // C holds the last lane of a segment, and above it which bits of a lane's number are the segment's.
      const Lanes a = bits(in.A), b = integers(in.B), c = integers(in.C);
      Lanes out = a;
      uint32_t inside = 0;
      for (int l = 0; l < 32; ++l) {
        if (!(mask >> l & 1)) continue;
        const int segment = c[l] >> 8 & 31, clamp = c[l] & 31, by = b[l] & 31;
        const int first = l & segment, last = first | (clamp & ~segment);
        const int source = in.has(M_IDX)    ? first | (by & ~segment)
                           : in.has(M_UP)   ? l - by
                           : in.has(M_DOWN) ? l + by
                                            : l ^ by;
        const bool valid = in.has(M_UP) ? source >= last : source <= last;
        inside |= uint32_t(valid) << l;
        if (!valid) continue;
        if (!(mask >> source & 1)) fail("lane %d takes a value from lane %d, which isn't there", l, source);
        out[l] = a[source];
      }
      put(in.D, out, mask);
      put_predicate(in.T, inside, mask);
      return true;
    }
    case OP_S2R:
    case OP_CS2R: {
      const uint32_t* n = block.launch.threads;
      const Lanes value = for_lanes([&](int l) -> uint32_t {
        const uint32_t thread = number * 32 + l;
        switch (in.A.index) {
          case TID_X:
            return thread % n[0];
          case TID_Y:
            return thread / n[0] % n[1];
          case TID_Z:
            return thread / n[0] / n[1];
          case CTAID_X:
          case CTAID_Y:
          case CTAID_Z:
            return block.index[in.A.index - CTAID_X];
          case LANE:
            return l;
          default:
            return 0;
        }
      });
      put(in.D, value, mask);
      if (in.operation == OP_CS2R && !in.has(M_32)) {
        Lanes64 pair;
        for (int l = 0; l < 32; ++l) pair[l] = value[l];
        put_pair(in.D, pair, mask);
      }
      return true;
    }
    case OP_LDC: {
      const Lanes low = constants(in.A, 0);
      const uint32_t keep = in.has(M_U8) ? 0xff : in.has(M_U16) ? 0xffff : kAll;
      if (!in.has(M_64)) {
        put(in.D, for_lanes([&](int l) { return low[l] & keep; }), mask);
        return true;
      }
      const Lanes high = constants(in.A, 4);
      Lanes64 pair;
      for (int l = 0; l < 32; ++l) pair[l] = uint64_t(high[l]) << 32 | low[l];
      put_pair(in.D, pair, mask);
      return true;
    }
  }
  return false;
}

}  // namespace sass
