#include "runtime/convolution.h"

#include "cpu/tiling.h"

namespace wavenet::runtime {

using cpu::Operator;

Convolution::Convolution(const cpu::Isa& isa, const Weights& weights, int64_t most_rows) : kernels_(*isa.of_float) {
  Layer& l = layer_;
  l.B = 1, l.T = most_rows, l.R = weights.channels, l.C = weights.outputs, l.K = weights.taps;
  l.past = l.left = l.K - 1;
  l.fast = false;  // no pairs of rows: there are few
  l.conv_weight = weights.weight, l.conv_bias = weights.bias;
  packed_ = cpu::allocate(kernels_.packed_reals(l, Operator::conv) * sizeof(float));
  const int64_t units = kernels_.pack_units(l, Operator::conv);
  for (int64_t unit = 0; unit < units; ++unit) kernels_.pack(l, Operator::conv, unit, packed_.get());
  scratch_ = cpu::allocate(kernels_.scratch_bytes(l, Operator::conv, most_rows));
  l.conv_weight = l.conv_bias = nullptr;  // packed
}

void Convolution::run(const float* x, int64_t stride, int64_t rows, float* y) {
  Layer& l = layer_;
  l.T = rows;
  l.x = {const_cast<float*>(x), 0, stride};
  l.a = {y, 0, l.C};
  for (int64_t at = 0; at < rows; at += cpu::kTileRows) {
    const int64_t end = at + cpu::kTileRows < rows ? at + cpu::kTileRows : rows;
    kernels_.tile(l, Operator::conv, packed_.get(), 0, at, end, scratch_.get());
  }
}

}  // namespace wavenet::runtime
