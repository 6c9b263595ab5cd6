// A residual stack fed a signal chunk by chunk. Weights are packed once, every buffer is reused: a step of a size
// that was seen before allocates nothing.
#pragma once

#include <vector>

#include "cpu/memory.h"
#include "cpu/run.h"

namespace wavenet::cpu {

// Rows of a step that are taken at a time, so that memory does not grow with it.
constexpr int64_t kLongestPiece = 1024;

class Stream {
 public:
  // `first` describes layer 0 with the weights of the whole stack, which are copied. B streams at a time; T, x, cond
  // and outputs are those of a step. Starts with zeros before the signal. Throws std::bad_alloc.
  Stream(const Isa& isa, const Layer& first, const std::vector<int64_t>& dilations);

  // The next `T` rows: x (B, T, R) in any strides, cond (B, T or 1, L*2D) or absent, residual, and skip, absent if S
  // is 0.
  void step(int64_t T, const Rows& x, const Rows& cond, const Rows& residual, const Rows& skip, int threads);

  void reset();

  // Steps of up to T rows on one thread will allocate nothing.
  void reserve(int64_t T);

  // The last inputs of every layer, (B, rows, R) contiguous, layer after layer, oldest first.
  void load_state(const void* state);
  void store_state(void* state) const;
  int64_t state_rows() const;

 private:
  // A layer and its input: `history` rows that count as before the chunk, and room for chunks to follow them.
  // When the room is used up, the history moves back to the front.
  struct Stage {
    Layer layer;
    int64_t history = 0, room = 0, position = 0, packed_at = 0;
    Memory rows;
    Memory conv_weight, conv_bias;  // which the layer points to: what isn't finite is packed again (fast.h)
  };

  int64_t row_bytes() const { return row_ * storage_bytes(first_.dtype); }
  char* row(const Stage& stage, int64_t b, int64_t position) const;
  Rows input(const Stage& stage) const;
  void make_room(Stage& stage, int64_t T);
  std::size_t make_scratch(int64_t T, int threads);
  void short_step(int64_t T, const Rows& x, const Rows& cond, const Rows& residual, const Rows& skip, int threads);

  const Kernels& kernels_;
  Layer first_;
  int64_t row_;  // elements from one row of a stage to the next: R, or kNarrow
  std::vector<Stage> stages_;
  Memory packed_, scratch_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace wavenet::cpu
