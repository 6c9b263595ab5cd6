// Tensor cores: mma.sync of a warp, wgmma of a warpgroup. Products are exact, sums in float32 from k = 0 on.
#include "machine.h"

namespace sass {

namespace {

float of_16_bits(const Instruction& in, uint16_t bits) { return in.has(M_BF16) ? of_bfloat(bits) : of_half(bits); }
float of_tf32(uint32_t bits) { return to_float(bits & ~0x1fffu); }  // the hardware ignores the last bits

// d += a b, for a of 16 rows.
template <int N>
void accumulate(float (&d)[16][N], const float (&a)[16][16], const float (&b)[16][N], int depth, int columns) {
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < depth; ++k) {
      for (int j = 0; j < columns; ++j) d[i][j] += a[i][k] * b[k][j];
    }
  }
}

// Where lane l has its i-th number of an accumulator's 16 rows: two neighbours of a row, then of the eighth row on,
// then of the next eight columns.
int row_of(int l, int i) { return l / 4 + (i & 2 ? 8 : 0); }
int column_of(int l, int i) { return i / 4 * 8 + l % 4 * 2 + (i & 1); }

}  // namespace

// m16n8k16 and m16n8k8 of 16 bits, m16n8k8 of TF32, as PTX describes their fragments.
void Warp::multiply_warp(const Instruction& in) {
  const bool tf32 = in.has(M_TF32);
  if (!tf32 && !in.has(M_16816) && !in.has(M_1688)) fail("a product that isn't known");
  const int depth = in.has(M_16816) ? 16 : 8;
  const auto at = [&](const Operand& o, int i, int l) { return o.is_zero() ? 0 : r[o.index + i][l]; };
  float a[16][16], b[16][8], d[16][8];
  for (int l = 0; l < 32; ++l) {
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 4; ++i) d[row_of(l, i)][column_of(l, i)] = to_float(at(in.C, i, l));
    if (tf32) {
      for (int i = 0; i < 4; ++i) a[g + 8 * (i & 1)][t + 4 * (i / 2)] = of_tf32(at(in.A, i, l));
      for (int i = 0; i < 2; ++i) b[t + 4 * i][g] = of_tf32(at(in.B, i, l));
      continue;
    }
    for (int i = 0; i < depth / 4; ++i) {
      for (int h = 0; h < 2; ++h) {
        a[g + 8 * (i & 1)][2 * t + h + 8 * (i / 2)] = of_16_bits(in, uint16_t(at(in.A, i, l) >> (16 * h)));
      }
    }
    for (int i = 0; i < depth / 8; ++i) {
      for (int h = 0; h < 2; ++h) b[2 * t + h + 8 * i][g] = of_16_bits(in, uint16_t(at(in.B, i, l) >> (16 * h)));
    }
  }
  accumulate(d, a, b, depth, 8);
  for (int l = 0; l < 32; ++l) {
    for (int i = 0; i < 4; ++i) r[in.D.index + i][l] = to_bits(d[row_of(l, i)][column_of(l, i)]);
  }
}

// gdesc[UR4] stands for the descriptors of a in UR4 and UR5, of b in UR6 and UR7.
void Warp::start_product(const Instruction& in) {
  const Operand& described = in.A.kind == UNIFORM ? in.A : in.B;
  const uint32_t* at = ur + described.index;
  products.push_back({&in, uint64_t(at[1]) << 32 | at[0], uint64_t(at[3]) << 32 | at[2], predicate(in.Q) != 0,
                      in.E.kind != NONE});
}

// What a product under way sums up in may not be touched, what it multiplies not be written. By an operand's first
// register, which finds code that forgot to wait.
void Warp::require_settled(const Instruction& in) const {
  if (in.operation == OP_HGMMA || in.operation == OP_WARPGROUP) return;
  const auto within = [](const Operand& o, const Operand& first, int count) {
    const bool names = (o.kind == REGISTER || o.kind == MEMORY) && o.index != RZ;
    return names && o.index >= first.index && o.index < first.index + count;
  };
  for (const Product& product : products) {
    const Instruction& made = *product.instruction;
    for (const Operand* o : {&in.D, &in.A, &in.B, &in.C, &in.E}) {
      if (within(*o, made.D, made.number / 2)) fail("R%d is of a wgmma that nobody waited for", o->index);
    }
    if (made.A.kind == REGISTER && within(in.D, made.A, 4)) {
      fail("R%d is a factor of a wgmma that nobody waited for", in.D.index);
    }
  }
}

void Warp::finish_products(uint32_t pending) {
  uint32_t groups_left = 0;
  for (const Product& product : products) groups_left += product.committed;
  while (groups_left > pending) {
    groups_left -= products.front().committed;
    multiply_group(products.front());
    products.pop_front();
  }
}

// Element (row, k) of an operand: row of a, column of b. The descriptor has, in units of 16 bytes, where it starts and
// two strides, and how wide rows are swizzled.
float Warp::read_matrix(const Instruction& in, uint64_t descriptor, int row, int k, bool transposed) {
  const bool tf32 = in.has(M_TF32);
  const uint32_t bytes = tf32 ? 4 : 2;
  const uint32_t start = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4,
                 stride = (descriptor >> 32 & 0x3fff) << 4;
  const int mode = descriptor >> 62;
  const uint32_t width = mode == 1 ? 128 : mode == 2 ? 64 : mode == 3 ? 32 : 16;
  const int per_row = width / bytes;
  uint32_t at = transposed ? start + row / per_row * leading + k / 8 * stride + k % 8 * width + row % per_row * bytes
                           : start + row / 8 * stride + row % 8 * width + k * bytes;
  at ^= (at >> 7 & (width / 16 - 1)) << 4;
  uint32_t value = 0;
  read_shared(0, shared_offset(at, bytes), bytes, &value);
  return tf32 ? of_tf32(value) : of_16_bits(in, uint16_t(value));
}

// This warp's 16 of the 64 rows.
void Warp::multiply_group(const Product& product) {
  const Instruction& in = *product.instruction;
  const bool tf32 = in.has(M_TF32);
  const int depth = tf32 ? 8 : 16;
  const int columns = in.number, first_row = number % 4 * 16;
  const bool a_in_registers = in.A.kind == REGISTER;
  const int transposed = a_in_registers ? in.B.half : in.A.half;  // 1: a, 2: b
  float a[16][16];
  static float b[16][256], d[16][256];
  for (int k = 0; k < depth; ++k) {
    for (int j = 0; j < columns; ++j) b[k][j] = read_matrix(in, product.b, j, k, transposed & 2);
  }
  if (a_in_registers && tf32) {
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) a[l / 4 + 8 * (i & 1)][l % 4 + 4 * (i / 2)] = of_tf32(r[in.A.index + i][l]);
    }
  } else if (a_in_registers) {
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) {
        for (int h = 0; h < 2; ++h) {
          a[l / 4 + 8 * (i & 1)][l % 4 * 2 + h + 8 * (i / 2)] =
              of_16_bits(in, uint16_t(r[in.A.index + i][l] >> (16 * h)));
        }
      }
    }
  } else {
    for (int i = 0; i < 16; ++i) {
      for (int k = 0; k < depth; ++k) a[i][k] = read_matrix(in, product.a, first_row + i, k, transposed & 1);
    }
  }
  const bool from_zero = !product.accumulate || in.C.is_zero();
  for (int l = 0; l < 32; ++l) {
    for (int i = 0; i < columns / 2; ++i) {
      d[row_of(l, i)][column_of(l, i)] = from_zero ? 0 : to_float(r[in.C.index + i][l]);
    }
  }
  accumulate(d, a, b, depth, columns);
  for (int l = 0; l < 32; ++l) {
    for (int i = 0; i < columns / 2; ++i) r[in.D.index + i][l] = to_bits(d[row_of(l, i)][column_of(l, i)]);
  }
}

bool Warp::multiply_matrices(const Instruction& in, uint32_t mask) {
  switch (in.operation) {
    case OP_HMMA:
      require_whole(mask);
      multiply_warp(in);
      return true;
    case OP_HGMMA:
      require_whole(mask);
      start_product(in);
      return true;
    case OP_WARPGROUP:
      require_whole(mask);
      if (in.has(M_DEPBAR)) finish_products(uint32_t(in.B.value));
      return true;
  }
  return false;
}

}  // namespace sass
