// Reading and writing operands, in all lanes at once.
#include "machine.h"

namespace sass {

Lanes Warp::constants(const Operand& o, int64_t further) const {
  const std::vector<uint8_t>& bank = block.launch.constants[o.index];
  const auto word = [&](int64_t at) {
    if (at < 0 || at + 4 > int64_t(bank.size())) fail("no constant c[%d][%#lx]", o.index, long(at));
    uint32_t value;
    std::memcpy(&value, &bank[at], 4);
    return value;
  };
  const int64_t at = o.value + further + (o.uniform >= 0 ? int32_t(ur[o.uniform]) : 0);
  if (o.base >= 0 && o.base != RZ) {
    // Other lanes' registers may hold anything.
    return for_lanes([&](int l) { return active >> l & 1 ? word(at + int32_t(r[o.base][l])) : 0; });
  }
  const uint32_t value = word(at);
  return for_lanes([&](int) { return value; });
}

Lanes Warp::bits(const Operand& o) const {
  Lanes out;
  uint32_t value = 0;
  switch (o.kind) {
    case REGISTER:
      std::memcpy(&out, r[o.index], sizeof out);
      return out;
    case CONSTANT:
      return constants(o, 0);
    case UNIFORM:
      value = ur[o.index];
      break;
    case IMMEDIATE:
      value = uint32_t(o.value);
      break;
    case NONE:
      break;
    default:
      fail("an operand that has no bits");
  }
  return for_lanes([&](int) { return value; });
}

Lanes Warp::upper_bits(const Operand& o) const {
  if (o.is_zero()) return Lanes{};
  Operand next = o;
  switch (o.kind) {
    case REGISTER:
    case UNIFORM:
      ++next.index;
      return bits(next);
    case CONSTANT:
      return constants(o, 4);
    default:
      return for_lanes([&](int) { return int32_t(o.value) < 0 ? kAll : 0; });
  }
}

Lanes Warp::integers(const Operand& o) const {
  Lanes v = bits(o);
  if (o.absolute) v = for_lanes([&](int l) { return int32_t(v[l]) < 0 ? -v[l] : v[l]; });
  if (o.negate) v = for_lanes([&](int l) { return -v[l]; });
  if (o.invert) v = for_lanes([&](int l) { return ~v[l]; });
  return v;
}

Lanes64 Warp::pairs(const Operand& o) const {
  const Lanes low = bits(o), high = upper_bits(o);
  Lanes64 out;
  for (int l = 0; l < 32; ++l) {
    const uint64_t value = uint64_t(high[l]) << 32 | low[l];
    out[l] = o.negate ? -value : value;
  }
  return out;
}

Floats Warp::floats(const Operand& o, bool flushed) const {
  Lanes v = bits(o);
  if (o.half) v = for_lanes([&](int l) { return to_bits(of_half(uint16_t(v[l] >> (o.half == 2 ? 16 : 0)))); });
  if (o.absolute) v = for_lanes([&](int l) { return v[l] & 0x7fffffffu; });
  if (o.negate) v = for_lanes([&](int l) { return v[l] ^ 0x80000000u; });
  Floats out;
  std::memcpy(&out, &v, sizeof out);
  if (flushed) {
    for (int l = 0; l < 32; ++l) out[l] = flush(out[l]);
  }
  return out;
}

uint32_t Warp::predicate(const Operand& o, bool absent) const {
  if (o.kind == NONE) return absent ? kAll : 0;
  const uint32_t value = o.kind == UNIFORM_PREDICATE ? up[o.index] : p[o.index];
  return o.invert ? ~value : value;
}

void Warp::put(const Operand& o, const Lanes& value, uint32_t mask) {
  if (!mask || o.is_zero()) return;
  if (o.kind == UNIFORM) {
    ur[o.index] = value[__builtin_ctz(mask)];
    return;
  }
  uint32_t* to = r[o.index];
  if (mask == kAll) {
    std::memcpy(to, &value, sizeof value);
    return;
  }
  for (int l = 0; l < 32; ++l) to[l] = mask >> l & 1 ? value[l] : to[l];
}

void Warp::put_pair(const Operand& o, const Lanes64& value, uint32_t mask) {
  if (o.is_zero()) return;
  Operand next = o;
  ++next.index;
  put(o, for_lanes([&](int l) { return uint32_t(value[l]); }), mask);
  put(next, for_lanes([&](int l) { return uint32_t(value[l] >> 32); }), mask);
}

void Warp::put_predicate(const Operand& o, uint32_t value, uint32_t mask) {
  if (o.kind == NONE || o.index == PT || !mask) return;
  if (o.kind == UNIFORM_PREDICATE) {
    up[o.index] = value >> __builtin_ctz(mask) & 1 ? kAll : 0;
  } else {
    p[o.index] = (p[o.index] & ~mask) | (value & mask);
  }
}

}  // namespace sass
