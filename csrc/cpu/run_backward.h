// The gradients of whole operators on the CPU.
#pragma once

#include "cpu/run.h"

namespace wavenet::cpu {

// The gradients of a chain of layers, last layer first; each may read what those after it wrote. Their rings are made
// here. For finite inputs the results do not depend on `threads`. Throws std::bad_alloc before anything is written.
void run_backward(const Isa& isa, Operator op, std::vector<Gradient> gradients, int threads);

// `stack` is as of the forward: x, weights, cond, and `saved` with the input of every layer but the first
// (checkpoint_every 1).
struct StackGradient {
  Stack stack;
  Rows grad_residual;  // (B, T, R); absent: the last layer's residual was not computed
  Rows grad_skip;      // (B, T, S); absent where S is 0
  Rows grad_x;         // (B, T, R), written; also holds the gradient of every later layer's input meanwhile
  bool want_x = true;  // false: grad_x is scratch, and the first layer's gradient is left out
  Rows grad_cond;      // (B, T or 1, L*2D) like cond, time stride 0 when global; absent: not wanted
  // With a leading L like the weights; null or absent: not wanted.
  void* conv_weight = nullptr;
  void* conv_bias = nullptr;
  void* out_weight = nullptr;
  void* out_bias = nullptr;
};
std::vector<Gradient> gradients_of(const Isa& isa, const StackGradient& stack);

}  // namespace wavenet::cpu
