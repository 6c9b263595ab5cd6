// What the backward kernels take beside the layer itself, and where they leave the gradients of its weights.
#pragma once

#include "cpu/units.h"

namespace wavenet {

// The gradients of the pre-activations of those units that were computed last: row after row, Reals or, of bfloat16 that
// is multiplied as such (cells.h), bfloat16.
struct Ring {
  void* data = nullptr;
  int64_t units = 0;  // that it holds
  int64_t channels = 0;
};

// Where the ring holds row t of clip b.
[[maybe_unused]] static inline int64_t ring_offset(const Ring& ring, const Layer& l, int64_t b, int64_t t) {
  const int64_t unit = b * cpu::unit_count(l) + cpu::unit_of(l, t), per_unit = cpu::rows_per_unit(l);
  const int64_t second = per_unit == 2 && t / l.dilation % 2 == 1;
  return (unit % ring.units * per_unit + second) * ring.channels;
}

// The gradient of one layer, or of the part of it that an operator is. The Layer holds sizes, x, cond and weights; its
// outputs are not used.
struct Gradient {
  Layer layer;
  Rows grad_residual;  // (B, T, R); absent: the layer's residual was not computed
  Rows grad_skip;      // (B, T, S); absent where S is 0
  Rows grad_z;         // (B, T, D), of a gated convolution or a gate
  Rows grad_a;         // (B, T, C): of a bare convolution, given; otherwise written, and absent if not wanted
  Ring ring;           // of grad_a where it is not given and grad_x wanted; run_backward makes it
  Rows grad_x;         // (B, T, R), written; may be grad_residual; absent: not wanted

  // Written, contiguous Reals in the layout of the weights; null: not wanted.
  void* conv_weight = nullptr;
  void* conv_bias = nullptr;
  void* out_weight = nullptr;
  void* out_bias = nullptr;
  Rows cond_sum;  // (B, 1, C) of global conditioning, written; absent: not wanted

  bool wants_slices() const { return conv_weight || out_weight || out_bias; }
  bool wants_sums() const { return conv_bias || cond_sum.data; }
};

// Sums over some of the tiles, as matrices of Reals with whole vectors of columns: conv_weight (K, C, R),
// out_weight (R+S, D), out_bias (R+S). Null pointers: not wanted.
struct Slice {
  void* conv_weight = nullptr;
  void* out_weight = nullptr;
  void* out_bias = nullptr;
  int64_t r_stride = 0, d_stride = 0;  // from row to row of conv_weight and out_weight
};

}  // namespace wavenet
