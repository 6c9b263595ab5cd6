// What the lanes of a warp do together: mma, load_matrices and shuffles. Which lane holds which element follows the
// formulas of the PTX manual, under "Matrix Fragments for mma.m16n8k16", "... m16n8k8" and "ldmatrix".
#include "engine.h"

namespace wavenet::cuda {

namespace simt {

namespace {

float of_bfloat16(uint16_t bits) { return of_bits<float>(uint32_t(bits) << 16); }

// __half2float looks at every case in turn and would take most of the time of an mma.
float of_half(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000) << 16, magnitude = uint32_t(bits & 0x7fff) << 13;
  const float scaled = of_bits<float>(magnitude) * 0x1p112f;  // exact for subnormal numbers as well
  const uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0;
  return of_bits<float>(bits_of(scaled) | special | sign);
}

// Bits that a TF32 number does not have are ignored.
float of_tf32(uint32_t bits) { return of_bits<float>(bits & ~0x1fffu); }

uint16_t half_of(const uint32_t* registers, int i) { return static_cast<uint16_t>(registers[i / 2] >> (i % 2 * 16)); }

using Row = float __attribute__((vector_size(32)));

template <int K>
struct Product {
  float a[16][K];
  Row b[K], d[16];

  void run() {
    for (int m = 0; m < 16; ++m) {
      Row sum = d[m];
      for (int k = 0; k < K; ++k) sum += a[m][k] * b[k];
      d[m] = sum;
    }
  }
};

template <int K>
void move_d(Product<K>& product, const Thread* lanes, bool out) {
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, in_group = lane % 4;
    float* d = lanes[lane].exchange.d;
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? group : group + 8, column = in_group * 2 + (i & 1);
      if (out) {
        d[i] = product.d[row][column];
      } else {
        product.d[row][column] = d[i];
      }
    }
  }
}

template <float (*CONVERT)(uint16_t)>
void multiply_16_bit(Thread* lanes, uint32_t) {
  Product<16> product;
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, in_group = lane % 4;
    const auto& exchange = lanes[lane].exchange;
    for (int i = 0; i < 8; ++i) {
      const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
      const int column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
      product.a[row][column] = CONVERT(half_of(exchange.a, i));
    }
    for (int i = 0; i < 4; ++i) {
      const int row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8), column = group;
      product.b[row][column] = CONVERT(half_of(exchange.b, i));
    }
  }
  move_d(product, lanes, false);
  product.run();
  move_d(product, lanes, true);
}

void multiply_tf32(Thread* lanes, uint32_t) {
  Product<8> product;
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, in_group = lane % 4;
    const auto& exchange = lanes[lane].exchange;
    for (int i = 0; i < 4; ++i) {
      const int row = i == 0 || i == 2 ? group : group + 8;
      const int column = i == 0 || i == 1 ? in_group : in_group + 4;
      product.a[row][column] = of_tf32(exchange.a[i]);
    }
    for (int i = 0; i < 2; ++i) product.b[in_group + i * 4][group] = of_tf32(exchange.b[i]);
  }
  move_d(product, lanes, false);
  product.run();
  move_d(product, lanes, true);
}

// Register i comes from matrix i, whose row j lane 8 i + j has read.
void deal_rows(Thread* lanes, uint32_t) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      lanes[lane].exchange.fragment[i] = lanes[i * 8 + lane / 4].exchange.row[lane % 4];
    }
  }
}

void deal_columns(Thread* lanes, uint32_t) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const auto element = [&](int row, int column) {
        return lanes[i * 8 + row].exchange.row[column / 2] >> (column % 2 * 16) & 0xffffu;
      };
      const int row = lane % 4 * 2, column = lane / 4;
      lanes[lane].exchange.fragment[i] = element(row, column) | element(row + 1, column) << 16;
    }
  }
}

// Into `row`, since another lane may still want `value`.
void deal_values(Thread* lanes, uint32_t mask) {
  for (int lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    auto& exchange = lanes[lane].exchange;
    if (!(mask >> exchange.source & 1)) {
      fail(cudaErrorLaunchFailure, "a shuffle's lane %d reads lane %u, which is not in mask %08x", lane,
           exchange.source, mask);
    }
    exchange.row[0] = lanes[exchange.source].exchange.value;
  }
}

}  // namespace

void multiply(Operand type, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  auto& exchange = current->exchange;
  exchange.a = a, exchange.b[0] = b0, exchange.b[1] = b1, exchange.d = d;
  switch (type) {
    case Operand::bfloat16:
      return rendezvous("mma", kFullMask, multiply_16_bit<of_bfloat16>);
    case Operand::half:
      return rendezvous("mma", kFullMask, multiply_16_bit<of_half>);
    case Operand::tf32:
      return rendezvous("mma", kFullMask, multiply_tf32);
  }
}

// The row is read when its lane comes, not when the last one does: nothing but a __syncwarp before makes what other
// lanes wrote visible.
void load_fragment(uint32_t (&fragment)[4], const void* row, bool transposed) {
  const char* name = transposed ? "load_matrices_transposed" : "load_matrices";
  if (!shared.holds(row, 16)) {
    fail(cudaErrorIllegalAddress, "%s reads a row at %p, not in the block's shared memory", name, row);
  }
  if (reinterpret_cast<uintptr_t>(row) % 16) {
    fail(cudaErrorMisalignedAddress, "%s reads a row at byte %td of shared memory, no multiple of 16", name,
         static_cast<const char*>(row) - shared.data);
  }
  std::memcpy(current->exchange.row, row, 16);
  current->exchange.fragment = fragment;
  rendezvous(name, kFullMask, transposed ? deal_columns : deal_rows);
}

uint32_t shuffle(const char* name, uint32_t mask, uint32_t bits, unsigned source) {
  Thread& self = *current;
  self.exchange.value = bits, self.exchange.source = source;
  rendezvous(name, mask, deal_values);
  return self.exchange.row[0];
}

}  // namespace simt

void __syncwarp(uint32_t mask) {
  simt::rendezvous("__syncwarp", mask, [](simt::Thread*, uint32_t) {});
}

}  // namespace wavenet::cuda
