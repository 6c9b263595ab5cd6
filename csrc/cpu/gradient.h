// What the backward kernels take beside the layer itself, and where they leave the gradients of its weights.
#pragma once

#include "layer.h"

namespace wavenet {

// The gradient of one layer. The Layer holds sizes, x, cond and weights; its outputs are not used.
struct Gradient {
  Layer layer;
  Rows grad_residual;  // (B, T, R); absent: the layer's residual was not computed
  Rows grad_skip;      // (B, T, S); absent where S is 0
  Rows grad_a;         // (B, T, 2D), written; it is also the gradient of local conditioning
  Rows grad_x;         // (B, T, R), written; may be grad_residual; absent: not wanted
};

// Sums over some of the tiles, as matrices with whole vectors of columns: conv_weight (K, 2D, R), conv_bias (2D),
// out_weight (R+S, D), out_bias (R+S). Null pointers: not wanted.
struct Slice {
  float* conv_weight = nullptr;
  float* conv_bias = nullptr;
  float* out_weight = nullptr;
  float* out_bias = nullptr;
  int64_t r_stride = 0, d_stride = 0;  // from row to row of conv_weight and out_weight
};

}  // namespace wavenet
