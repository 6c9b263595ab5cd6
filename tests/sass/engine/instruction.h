// An instruction as decoder.py makes it. operations.h is generated from its table: `enum Operation` (OP_IADD3, ...) and
// `enum Modifier` (M_X, M_U32, ...).
#pragma once

#include <cstdint>

#include "operations.h"

namespace sass {

enum Kind : int32_t { NONE, REGISTER, UNIFORM, PREDICATE, UNIFORM_PREDICATE, IMMEDIATE, CONSTANT, MEMORY, SPECIAL };
enum Special : int32_t { TID_X, TID_Y, TID_Z, CTAID_X, CTAID_Y, CTAID_Z, LANE, ZERO };

constexpr int RZ = 255, URZ = 63, PT = 7;  // registers that are zero, the predicate that holds

struct Operand {
  Kind kind;
  int32_t index;    // of a register or predicate; a constant's bank; which special register
  int32_t negate;   // -x
  int32_t absolute; // |x|
  int32_t invert;   // ~x of a register, !p of a predicate
  int32_t half;     // of a register that holds two: 0 both, 1 the low one, 2 the high one
  int32_t scale;    // of an address in a register: [R1.X4]
  int32_t wide;     // an address of 64 bits, in two registers: [R2.64]
  int32_t uniform;  // the uniform register in an address, or -1: [R1+UR4], c[0x3][UR4]
  int32_t base;     // the register in a constant's address, or -1: c[0x0][R1+0x160]
  int64_t value;    // an immediate's bits; an address's offset
  bool is_zero() const {
    return kind == NONE || (kind == REGISTER && index == RZ) || (kind == UNIFORM && index == URZ);
  }
};

struct Instruction {
  int32_t operation;
  int32_t guard, guard_inverted, guard_uniform;  // @!UP0
  int32_t target;                                // of a branch: an instruction's number
  int32_t size;                                  // of a memory access a thread makes, in bytes
  int32_t number;                                // columns of a wgmma
  int32_t uniform;                               // whether it is one of the uniform datapath
  uint64_t modifiers[2];
  Operand D, T, U, A, B, C, E, Q, R;
  bool has(int modifier) const { return modifiers[modifier / 64] >> (modifier % 64) & 1; }
};

static_assert(sizeof(Operand) == 48 && sizeof(Instruction) == 48 + 9 * 48, "as in decoder.py");

}  // namespace sass
