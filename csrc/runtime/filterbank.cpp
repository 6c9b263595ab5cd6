#include "runtime/filterbank.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace wavenet::runtime {

namespace {

constexpr int64_t kTimes = 3, kNeighbours = 3;

}  // namespace

Filterbank::Layer::Layer(const cpu::Isa& isa, const Weights& weights, int64_t bands, int64_t step)
    : convolution(isa, weights, (bands - 1) / step + 1),
      bands(bands),
      channels(weights.channels / (kTimes * kNeighbours)),
      step(step),
      inputs((bands + 2) * kTimes * channels),
      outputs(((bands - 1) / step + 1) * weights.outputs) {}

const float* Filterbank::Layer::hear(const float* values, const Layer* first) {
  const int64_t band = kTimes * channels, size = channels * sizeof(float), rows = (bands - 1) / step + 1;
  const bool full = filled == kTimes;
  if (full) filled = kTimes - step;
  for (int64_t b = 0; b < bands; ++b) {
    float* to = inputs.data() + (b + 1) * band;
    if (full) std::memmove(to, to + step * channels, filled * size);
    std::memcpy(to + filled * channels, values + b * channels, size);
  }
  if (++filled < kTimes) return nullptr;
  convolution.run(inputs.data(), step * band, rows, outputs.data());
  if (first) {
    for (int64_t b = 0; b < bands; ++b) {
      const float* heard = first->inputs.data() + (b + 1) * band + (kTimes - 1) * channels;
      for (int64_t c = 0; c < channels; ++c) outputs[b * channels + c] += heard[c];
    }
  }
  for (float& value : outputs) value = std::max(value, 0.0f);
  return outputs.data();
}

Filterbank::Filterbank(const cpu::Isa& isa, const Network& net)
    : bands_(net.bands),
      times_per_step_(net.windows_per_step()),
      mix_(isa, net.bands.mix, 1),
      energies_(net.bands.count),
      silence_(2 * net.bands.count) {
  int64_t bands = bands_.count;
  layers_.reserve(bands_.layers.size());
  for (const Weights& weights : bands_.layers) {
    const bool halving = layers_.size() % bands_.of_group() == 0;
    layers_.emplace_back(isa, weights, bands, halving ? 2 : 1);
    if (halving) bands = halved(bands);
  }
  reset();
}

// Silence, as long as a step sees.
void Filterbank::reset() {
  for (Layer& layer : layers_) layer.filled = 0;
  const int64_t before = (2 + 8 * bands_.blocks) * (times_per_step_ - 1);
  for (int64_t i = 0; i < before; ++i) hear(silence_.data(), nullptr);
  until_ = 1;
}

bool Filterbank::hear(const float* filtered, float* row) {
  const int64_t count = bands_.count;
  for (int64_t b = 0; b < count; ++b) {
    const float cosine = filtered[b], sine = filtered[count + b];
    energies_[b] = std::log(cosine * cosine + sine * sine + bands_.floor) * bands_.gain[b] + bands_.offset[b];
  }
  const float* values = energies_.data();
  for (size_t i = 0; values && i < layers_.size(); ++i) {
    const size_t place = i % bands_.of_group();
    values = layers_[i].hear(values, place && place % 2 == 0 ? &layers_[i - 1] : nullptr);
  }
  --until_;
  if (!values) return false;
  until_ = times_per_step_;
  mix_.run(values, 0, 1, row);
  return true;
}

}  // namespace wavenet::runtime
