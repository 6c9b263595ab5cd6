// Whole operators on the CPU: a chain of layers, each cut into tiles of rows that threads share.
#pragma once

#include <vector>

#include "cpu/isa.h"

namespace wavenet::cpu {

// Runs the layers one after another (each may read what those before it wrote). For finite inputs the results do not
// depend on `threads`. Throws std::bad_alloc before anything is written.
void run(const Isa& isa, Operator op, const std::vector<Layer>& layers, int threads);

// (B, T, C) in any memory order, into one whose channels are side by side.
void copy_rows(const Isa& isa, const Rows& from, DType dtype, int64_t B, int64_t T, int64_t C, const Rows& to,
               int threads);

// A residual stack, layer by layer. `first` describes layer 0 with the whole stack's weights (leading
// dimension L) and conditioning (L * 2D channels); its x, residual and skip are those of the stack.
struct Stack {
  Layer first;
  bool same_padding = false;
  std::vector<int64_t> dilations;
  Rows scratch[2];           // (B, T, R) each, the second if two inputs are unsaved; that may be the residual
  Rows saved;                // (N, B, T, R): inputs of layers n, 2n, ...; absent: not kept
  int64_t saved_stride = 0;  // elements from one saved input to the next
  int64_t checkpoint_every = 1;
  void* gates = nullptr;     // (L, B, T, C) activations, what goes into the gates: kept for backward; absent: not kept
};
std::vector<Layer> layers_of(const Isa& isa, const Stack& stack);

// Rows of zeros that count as before row 0.
inline int64_t left_padding(int64_t K, int64_t dilation, bool same) {
  return same ? (K - 1) / 2 * dilation : (K - 1) * dilation;
}

}  // namespace wavenet::cpu
