#include "runtime/convolution.h"

#include <vector>

#include "cpu/tiling.h"

namespace wavenet::runtime {

using cpu::Operator;

Convolution::Convolution(const cpu::Isa& isa, const Weights& weights, int64_t most_rows)
    : kernels_(*isa.of_float), quantized_kernels_(cpu::quantized_kernels(isa)) {
  Layer& l = layer_;
  l.B = 1, l.T = most_rows, l.R = weights.channels, l.C = weights.outputs, l.K = weights.taps;
  l.past = l.left = l.K - 1;
  l.fast = false;  // no pairs of rows: there are few
  if (weights.quantized) {
    quantize(weights, most_rows);
    return;
  }
  const std::shared_ptr<const float> weight = weights.floats();
  l.conv_weight = weight.get(), l.conv_bias = weights.bias;
  packed_ = cpu::allocate(kernels_.packed_reals(l, Operator::conv) * sizeof(float));
  const int64_t units = kernels_.pack_units(l, Operator::conv);
  for (int64_t unit = 0; unit < units; ++unit) kernels_.pack(l, Operator::conv, unit, packed_.get());
  scratch_ = cpu::allocate(kernels_.scratch_bytes(l, Operator::conv, most_rows));
  l.conv_weight = l.conv_bias = nullptr;  // packed
}

void Convolution::quantize(const Weights& weights, int64_t most_rows) {
  const int64_t lanes = quantized_kernels_.lanes, rows = most_rows + weights.taps - 1;
  quantized_ = cpu::pack_quantized(
      lanes, cpu::outputs_of(0, weights.outputs, lanes),
      {weights.quantized, weights.scale, weights.bias, weights.channels, weights.taps});
  bytes_ = cpu::allocate(rows * quantized_.bytes), scales_ = cpu::allocate(rows * sizeof(float));
  inputs_ = {reinterpret_cast<uint8_t*>(bytes_.get()), reinterpret_cast<float*>(scales_.get()), quantized_.bytes};
}

void Convolution::run(const float* x, int64_t stride, int64_t rows, float* y) {
  Layer& l = layer_;
  if (quantized_.held) {
    quantized_kernels_.quantize(x - l.past * stride, stride, rows + l.past, l.R, inputs_);
    quantized_kernels_.convolve(quantized_, rows_from(inputs_, l.past), rows, l.C, y);
    return;
  }
  l.T = rows;
  l.x = {const_cast<float*>(x), 0, stride};
  l.a = {y, 0, l.C};
  for (int64_t at = 0; at < rows; at += cpu::kTileRows) {
    const int64_t end = at + cpu::kTileRows < rows ? at + cpu::kTileRows : rows;
    kernels_.tile(l, Operator::conv, packed_.get(), 0, at, end, scratch_.get());
  }
}

}  // namespace wavenet::runtime
