#include "runtime/filterbank.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace wavenet::runtime {

namespace {

constexpr int64_t kTimes = 3, kNeighbours = 3;

}  // namespace

Filterbank::Layer::Layer(const cpu::Isa& isa, const Weights& weights, int64_t bands)
    : convolution(isa, weights, halved(bands)),
      bands(bands),
      channels(weights.channels / (kTimes * kNeighbours)),
      inputs((bands + 2) * kTimes * channels),
      outputs(halved(bands) * weights.outputs) {}

// Of every two bands and times one is computed.
const float* Filterbank::Layer::hear(const float* values) {
  const int64_t band = kTimes * channels, size = channels * sizeof(float);
  const bool full = filled == kTimes;
  if (full) filled = 1;
  for (int64_t b = 0; b < bands; ++b) {
    float* to = inputs.data() + (b + 1) * band;
    if (full) std::memcpy(to, to + 2 * channels, size);
    std::memcpy(to + filled * channels, values + b * channels, size);
  }
  if (++filled < kTimes) return nullptr;
  convolution.run(inputs.data(), 2 * band, halved(bands), outputs.data());
  for (float& value : outputs) value = std::max(value, 0.0f);
  return outputs.data();
}

Filterbank::Filterbank(const cpu::Isa& isa, const Network& net)
    : bands_(net.bands),
      times_per_step_(int64_t{1} << net.bands.layers.size()),
      mix_(isa, net.bands.mix, 1),
      energies_(net.bands.count),
      silence_(2 * net.bands.count) {
  int64_t bands = bands_.count;
  for (const Weights& weights : bands_.layers) {
    layers_.emplace_back(isa, weights, bands);
    bands = halved(bands);
  }
  reset();
}

// Silence, as long as a step sees.
void Filterbank::reset() {
  for (Layer& layer : layers_) layer.filled = 0;
  for (int64_t i = 0; i < 2 * (times_per_step_ - 1); ++i) hear(silence_.data(), nullptr);
  until_ = 1;
}

bool Filterbank::hear(const float* filtered, float* row) {
  const int64_t count = bands_.count;
  for (int64_t b = 0; b < count; ++b) {
    const float cosine = filtered[b], sine = filtered[count + b];
    energies_[b] = std::log(cosine * cosine + sine * sine + bands_.floor) * bands_.gain[b] + bands_.offset[b];
  }
  const float* values = energies_.data();
  for (Layer& layer : layers_) {
    values = layer.hear(values);
    if (!values) break;
  }
  --until_;
  if (!values) return false;
  until_ = times_per_step_;
  mix_.run(values, 0, 1, row);
  return true;
}

}  // namespace wavenet::runtime
