#include "cpu/quantized_stream.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace wavenet::cpu {

namespace {

template <class T>
const T* at(const T* from, int64_t offset) {
  return from ? from + offset : nullptr;
}

}  // namespace

QuantizedStream::QuantizedStream(const Isa& isa, const QuantizedStack& s, int64_t most_rows)
    : kernels_(quantized_kernels(isa)),
      R_(s.R),
      S_(s.S),
      most_rows_(std::min(most_rows, kLongestPiece)),
      stages_(s.dilations.size()) {
  const int64_t lanes = kernels_.lanes, R = s.R, D = s.D, S = s.S, K = s.K;
  std::vector<int64_t> gated;
  for (int64_t first = 0; first < D; first += lanes) {
    append_outputs(gated, first, std::min(lanes, D - first), lanes);
    append_outputs(gated, D + first, std::min(lanes, D - first), lanes);
  }
  int64_t scratch = 0;
  for (std::size_t n = 0; n < stages_.size(); ++n) {
    Stage& stage = stages_[n];
    const int64_t l = static_cast<int64_t>(n), convolved = l * 2 * D, put_out = l * (R + S);
    QuantizedLayer& layer = stage.layer;
    layer.R = R, layer.D = D, layer.S = S, layer.dilation = s.dilations[n];
    layer.residual_scale = static_cast<float>(s.residual_scale);
    layer.convolution = pack_quantized(lanes, gated,
                                       {s.conv_weight + convolved * R * K, s.conv_scale + convolved,
                                        at(s.conv_bias, convolved), R, K});
    const QuantizedWeights out{s.out_weight + put_out * D, s.out_scale + put_out, at(s.out_bias, put_out), D, 1};
    if (n + 1 < stages_.size()) layer.residual = pack_quantized(lanes, outputs_of(0, R, lanes), out);
    layer.skip = pack_quantized(lanes, outputs_of(R, S, lanes), out);
    if (static_cast<double>(K - 1) * static_cast<double>(layer.dilation) * static_cast<double>(R) > 1e15) {
      throw std::bad_alloc();
    }
    stage.history = (K - 1) * layer.dilation;
    stage.room = std::max(stage.history, most_rows_);
    stage.bytes = allocate((stage.history + stage.room) * layer.convolution.bytes);
    stage.scales = allocate((stage.history + stage.room) * sizeof(float));
    scratch = std::max(scratch, kernels_.scratch_bytes(layer, most_rows_));
  }
  scratch_ = allocate(scratch);
  reset();
}

void QuantizedStream::reset() {
  for (Stage& stage : stages_) {
    stage.position = stage.history;
    const QuantizedRows rows = stage.rows();
    std::memset(rows.data, static_cast<int>(kMostQuantized), stage.history * rows.bytes);
    std::fill(rows.scales, rows.scales + stage.history, 0.0f);
  }
}

void QuantizedStream::Stage::make_room(int64_t T) {
  if (position + T <= history + room) return;
  const QuantizedRows to = rows(), from = rows_from(to, position - history);
  std::memmove(to.data, from.data, history * to.bytes);
  std::memmove(to.scales, from.scales, history * sizeof(float));
  position = history;
}

void QuantizedStream::step(int64_t T, float* rows, float* skip) {
  for (int64_t t = 0; t < T; t += most_rows_) piece(std::min(most_rows_, T - t), rows + t * R_, skip + t * S_);
}

void QuantizedStream::piece(int64_t T, float* rows, float* skip) {
  for (Stage& stage : stages_) {
    stage.make_room(T);
    const QuantizedRows x = rows_from(stage.rows(), stage.position);
    kernels_.quantize(rows, R_, T, R_, x);
    kernels_.layer(stage.layer, x, T, rows, skip, &stage != &stages_.front(), scratch_.get());
    stage.position += T;
  }
}

}  // namespace wavenet::cpu
