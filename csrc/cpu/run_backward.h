// The gradient of a residual stack on the CPU.
#pragma once

#include "cpu/run.h"

namespace wavenet::cpu {

// `stack` is as of the forward: x, weights, cond, and `saved` with the input of every layer but the first
// (checkpoint_every 1). Gradients of weights have a leading L like the weights; null or absent: not wanted.
struct StackGradient {
  Stack stack;
  Rows grad_residual;  // (B, T, R); absent: the last layer's residual was not computed
  Rows grad_skip;      // (B, T, S); absent where S is 0
  Rows grad_x;         // (B, T, R), written; also holds the gradient of every later layer's input meanwhile
  bool want_x = true;  // false: grad_x is scratch, and the first layer's gradient is left out
  Rows grad_a;         // (B, T, 2D) scratch; absent where grad_cond is local and takes its place
  Rows grad_cond;      // (B, T or 1, L*2D) like cond, time stride 0 when global; absent: not wanted
  float* conv_weight = nullptr;
  float* conv_bias = nullptr;
  float* out_weight = nullptr;
  float* out_bias = nullptr;
};

// The results do not depend on `threads`. Throws std::bad_alloc before anything is written.
void run_backward(const Isa& isa, const StackGradient& gradient, int threads);

}  // namespace wavenet::cpu
