#include "runtime/stack.h"

#include <algorithm>

namespace wavenet::runtime {

Stack::Stack(const cpu::Isa& isa, const Layers& layers, int64_t most_steps) : R_(layers.R), S_(layers.S) {
  const Weights &conv = layers.conv, &out = layers.out;
  if (conv.quantized) {
    cpu::QuantizedStack all;
    all.R = layers.R, all.D = layers.D, all.S = layers.S, all.K = layers.K;
    all.residual_scale = layers.residual_scale, all.dilations = layers.dilations;
    all.conv_weight = conv.quantized, all.conv_scale = conv.scale, all.conv_bias = conv.bias;
    all.out_weight = out.quantized, all.out_scale = out.scale, all.out_bias = out.bias;
    quantized_ = std::make_unique<cpu::QuantizedStream>(isa, all, most_steps);
    return;
  }
  Layer first;
  first.B = 1, first.R = layers.R, first.D = layers.D, first.S = layers.S, first.K = layers.K;
  first.C = 2 * layers.D;
  first.residual_scale = layers.residual_scale;
  const std::shared_ptr<const float> conv_weight = conv.floats(), out_weight = out.floats();
  first.conv_weight = conv_weight.get(), first.conv_bias = conv.bias;
  first.out_weight = out_weight.get(), first.out_bias = out.bias;
  floats_ = std::make_unique<cpu::Stream>(isa, first, layers.dilations);
  floats_->reserve(most_steps);
}

void Stack::reset() { quantized_ ? quantized_->reset() : floats_->reset(); }

void Stack::step(int64_t steps, float* rows, float* skip) {
  if (quantized_) return quantized_->step(steps, rows, skip);
  const Rows x{rows, 0, R_};
  floats_->step(steps, x, {}, x, {skip, 0, S_}, 1);  // nobody wants the residual
}

PlainStack::PlainStack(const cpu::Isa& isa, const Layers& layers)
    : R_(layers.R), S_(layers.S), stack_(isa, layers, cpu::kLongestPiece), rows_(cpu::kLongestPiece * layers.R) {}

void PlainStack::push(const float* rows, int64_t count, float* skip) {
  for (int64_t at = 0; at < count; at += cpu::kLongestPiece) {
    const int64_t steps = std::min(cpu::kLongestPiece, count - at);
    std::copy(rows + at * R_, rows + (at + steps) * R_, rows_.begin());
    stack_.step(steps, rows_.data(), skip + at * S_);
  }
}

}  // namespace wavenet::runtime
