// An operator's forward or backward pass, prepared once for tensors that lie in a certain way and run on any that lie
// so: only addresses are given anew. Rows whose channels aren't side by side are copied where kernels need them to be.
#pragma once

#include "cpu/run_backward.h"

namespace wavenet::cpu {

// How a call is computed: instruction set, threads, dtype of the activations (weights, biases and their gradients are
// float32, or float64 with float64 activations), and whether convolutions may be fast ones.
struct Execution {
  const Isa& isa;
  int threads;
  DType dtype;
  bool fast;
};

// An operator, and its tensors or those that they lie like. All operators are parts of a residual stack (layer.h); a
// bare gate's input is `a`.
struct Call {
  Operator op;
  Stack stack;

  Stack computed(const Execution& how) const;  // the stack, with how it is
};

// Addresses of what an operator computes on; null: absent. Weights are contiguous and of the kernels' reals.
struct Inputs {
  void *x, *conv_weight, *conv_bias, *out_weight, *out_bias, *cond;
};

struct ForwardPass {
  Call call;
  Rows y, residual, skip;  // y is the output of an operator with a single one
  int64_t checkpoint_every = 1;

  struct Outputs {
    void *y, *residual, *skip, *saved, *gates;  // as in Stack; contiguous are `saved` and `gates`
  };
  void run(const Inputs& inputs, const Outputs& outputs, const Execution& how) const;
};

struct BackwardPass {
  Call call;
  Rows grad_y, grad_residual, grad_skip;  // given
  Rows grad_x, grad_cond;  // written; grad_cond is of local conditioning if its time stride isn't 0, else of global

  struct Given {
    void *y, *residual, *skip, *saved, *gates;  // gradients of the outputs, and what the forward pass kept
  };
  struct Wanted {
    void *x, *conv_weight, *conv_bias, *out_weight, *out_bias, *cond;  // null: not wanted
  };
  void run(const Inputs& inputs, const Given& given, const Wanted& wanted, const Execution& how) const;
};

}  // namespace wavenet::cpu
