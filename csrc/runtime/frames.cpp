#include "runtime/frames.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/means.h"

namespace wavenet::runtime {

Stem::Stem(const cpu::Isa& isa, const Network& net) : net_(net), kernels_(*isa.of_float->sample) {
  const int64_t most = net.frame_steps * net.windows_per_step();
  if (net.input == Input::one_hot) {
    const std::shared_ptr<const float> table = net.stem.floats();
    table_.assign(table.get(), table.get() + net.stem_taps * kCodes * net.R);
    bias_.assign(net.stem.bias, net.stem.bias + net.R);
  } else {
    convolution_ = std::make_unique<Convolution>(isa, net.bands.count ? net.bands.filters : net.stem, most);
  }
  if (net.bands.count) {
    bands_ = std::make_unique<Filterbank>(isa, net);
    filtered_.resize(most * 2 * net.bands.count);
  }
  samples_.resize(net.stem_taps + (most - 1) * net.window_stride());
  reset();
}

void Stem::reset() {
  filled_ = net_.stem_taps - 1;
  std::fill(samples_.begin(), samples_.begin() + filled_, 0.0f);
  compand(0, filled_);
  if (bands_) bands_->reset();
}

// Of samples from `begin` to `end` makes what the network hears: themselves, companded ones or codes of these.
void Stem::compand(int64_t begin, int64_t end) {
  if (net_.input == Input::raw) return;
  float* samples = samples_.data();
  kernels_.compand(samples + begin, end - begin, kCodes - 1, samples + begin);
  if (net_.input == Input::mu_law) return;
  for (int64_t i = begin; i < end; ++i) {
    samples[i] = std::min(kCodes - 1.0f, std::max(0.0f, std::floor((samples[i] + 1.0f) * (0.5f * (kCodes - 1)) + 0.5f)));
  }
}

int64_t Stem::wanted(int64_t steps) const {
  return net_.stem_taps + (windows(steps) - 1) * net_.window_stride() - filled_;
}

void Stem::hear(const float* samples, int64_t count) {
  std::copy(samples, samples + count, samples_.data() + filled_);
  compand(filled_, filled_ + count);
  filled_ += count;
}

int64_t Stem::take(int64_t steps, float* rows) {
  const int64_t stride = net_.window_stride(), beyond = filled_ - net_.stem_taps;
  const int64_t count = beyond < 0 ? 0 : std::min(windows(steps), beyond / stride + 1);
  if (count == 0) return 0;
  int64_t taken = count;
  if (bands_) {
    convolution_->run(samples_.data(), stride, count, filtered_.data());
    taken = 0;
    for (int64_t i = 0; i < count; ++i) {
      taken += bands_->hear(filtered_.data() + i * 2 * net_.bands.count, rows + taken * net_.R);
    }
  } else if (convolution_) {
    convolution_->run(samples_.data(), stride, count, rows);
  } else {
    for (int64_t j = 0; j < count; ++j) embed(samples_.data() + j * stride, rows + j * net_.R);
  }
  // Where stride is more than there are, the samples to come begin further on; but taps >= stride.
  filled_ -= count * stride;
  std::memmove(samples_.data(), samples_.data() + count * stride, filled_ * sizeof(float));
  return taken;
}

// A convolution over one-hot codes is a sum of rows of its table, one a tap.
void Stem::embed(const float* codes, float* row) const {
  std::memcpy(row, bias_.data(), net_.R * sizeof(float));
  for (int64_t tap = 0; tap < net_.stem_taps; ++tap) {
    const float* from = table_.data() + (tap * kCodes + static_cast<int64_t>(codes[tap])) * net_.R;
    for (int64_t c = 0; c < net_.R; ++c) row[c] += from[c];
  }
}

FrameMeans::FrameMeans(const cpu::Isa& isa, const Network& net)
    : net_(net),
      stem_(isa, net),
      stack_(isa, net, net.frame_steps),
      rows_(net.frame_steps * net.R),
      skip_(net.frame_steps * net.S) {}

void FrameMeans::reset() { stem_.reset(), stack_.reset(); }

bool FrameMeans::take(float* means) {
  const int64_t steps = stem_.take(net_.frame_steps, rows_.data());
  if (steps == 0) return false;
  stack_.step(steps, rows_.data(), skip_.data());
  mean_of_positive(skip_.data(), steps, net_.S, means);
  return true;
}

Head::Head(const cpu::Isa& isa, const Network& net) {
  for (const Weights& w : net.head) {
    layers_.push_back({Convolution(isa, w, 1), w, std::vector<float>(w.taps * w.channels),
                       std::vector<float>(w.outputs), std::vector<float>(w.channels)});
  }
  reset();
}

void Head::reset() {
  for (Layer& layer : layers_) {
    layer.seen = layer.sizes.taps / 2;  // before the start every layer sees zeros
    std::fill(layer.past.begin(), layer.past.end(), 0.0f);
  }
  ending_ = 0, zeros_heard_ = 0;
}

const float* Head::pass(std::size_t which, const float* frame) {
  for (; which < layers_.size(); ++which) {
    Layer& layer = layers_[which];
    const int64_t taps = layer.sizes.taps, channels = layer.sizes.channels;
    std::memmove(layer.past.data(), layer.past.data() + channels, (taps - 1) * channels * sizeof(float));
    float* newest = layer.past.data() + (taps - 1) * channels;
    std::memcpy(newest, frame, channels * sizeof(float));
    if (layer.seen < taps && ++layer.seen < taps) return nullptr;
    layer.convolution.run(newest, channels, 1, layer.out.data());
    for (float& value : layer.out) value = std::max(value, 0.0f);
    frame = layer.out.data();
  }
  return frame;
}

const float* Head::hear_end() {
  if (zeros_heard_ == layers_[ending_].sizes.taps / 2) {
    ++ending_, zeros_heard_ = 0;
    return nullptr;
  }
  ++zeros_heard_;
  return pass(ending_, layers_[ending_].zeros.data());
}

}  // namespace wavenet::runtime
