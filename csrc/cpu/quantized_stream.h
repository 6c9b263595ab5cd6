// A residual stack in int8 (quantized.h), fed a signal chunk by chunk: one signal, without conditioning, of which the
// skip sum is wanted. Everything is allocated when it is made.
#pragma once

#include <vector>

#include "cpu/quantized.h"
#include "cpu/stream.h"

namespace wavenet::cpu {

// The whole stack's weights, contiguous: (L, 2D, R, K) and (L, R+S, D) of int8, each with a scale for every output.
// Biases may be absent.
struct QuantizedStack {
  int64_t R = 0, D = 0, S = 0, K = 1;
  double residual_scale = 1;
  std::vector<int64_t> dilations;
  const int8_t *conv_weight = nullptr, *out_weight = nullptr;
  const float *conv_scale = nullptr, *conv_bias = nullptr, *out_scale = nullptr, *out_bias = nullptr;
};

class QuantizedStream {
 public:
  // Weights are copied. `most_rows`: of a usual step; longer ones are taken in pieces. Throws std::bad_alloc.
  QuantizedStream(const Isa& isa, const QuantizedStack& stack, int64_t most_rows = kLongestPiece);

  void reset();

  // The next T rows: (T, R), which are worked on, and the skip sums (T, S), which are written.
  void step(int64_t T, float* rows, float* skip);

 private:
  // A layer and its quantised inputs: `history` of them count as before the piece, and when `room` behind them is used
  // up, they move back to the front.
  struct Stage {
    QuantizedLayer layer;
    int64_t history = 0, room = 0, position = 0;
    Memory bytes, scales;

    QuantizedRows rows() const {
      return {reinterpret_cast<uint8_t*>(bytes.get()), reinterpret_cast<float*>(scales.get()), layer.convolution.bytes};
    }
    void make_room(int64_t T);
  };

  void piece(int64_t T, float* rows, float* skip);

  const QuantizedKernels& kernels_;
  int64_t R_, S_, most_rows_;
  std::vector<Stage> stages_;
  Memory scratch_;
};

}  // namespace wavenet::cpu
