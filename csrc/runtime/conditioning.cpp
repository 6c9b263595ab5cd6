#include "runtime/conditioning.h"

#include <algorithm>
#include <cstring>

namespace wavenet::runtime {

namespace {

constexpr int64_t kFrames = 16;   // at least, that may be pushed beyond those that are needed
constexpr int64_t kSamples = 16;  // at a time: their conditioning stays in the cache
constexpr uint64_t kMostStages = 16;

// Frames that may lie there at once. The first whose samples are made may have context before it that is cut.
int64_t most_frames(const ConditioningNetwork& net) {
  const Upsampling& up = net.upsampling;
  return std::max(up.before, net.context) + 1 + std::max(up.after, net.context) + kFrames;
}

}  // namespace

ConditioningNetwork::ConditioningNetwork(const File& file, int64_t outputs) {
  channels = file.integer("conditioning.channels", 1, kMostChannels);
  hop = file.integer("conditioning.hop", 1, kMostSteps);
  context = file.integer("conditioning.context", 0, kMostTaps);
  gates = weights_of(file, "conditioning.gates", 1, outputs, channels, 1);
  if (file.has("conditioning.frames")) {
    frames = weights_of(file, "conditioning.frames", 1, channels, channels, 2 * context + 1);
  }
  Upsampling& up = upsampling;
  up.before = file.integer("conditioning.before", 0, kMostTaps);
  up.after = file.integer("conditioning.after", 0, kMostTaps);
  const int64_t around = up.before + 1 + up.after;
  const int64_t all = most_frames(*this) + taps() + context + kSamples;
  if (product({all, std::max(channels, outputs)}) > kMostNumbers ||
      product({around, hop, std::max(channels, around)}) > kMostNumbers) {
    throw BadFile("has impossible sizes");
  }
  if (file.has("conditioning.deconvolution.weight")) {
    up.deconvolution = convolution(file, "conditioning.deconvolution", hop * channels, channels, up.before + 1);
  } else if (file.has("conditioning.scales")) {
    const Array<int64_t> scales = file.integers("conditioning.scales");
    up.channel_taps = file.integer("conditioning.channel_taps", 1, kMostTaps);
    up.slope = static_cast<float>(file.number("conditioning.slope"));
    if (scales.count < 1 || scales.count > kMostStages) throw BadFile("has impossible conditioning.scales");
    int64_t rest = hop;
    for (uint64_t i = 0; i < scales.count; ++i) {
      const int64_t scale = scales.data[i];
      if (scale < 1 || rest % scale != 0) throw BadFile("has impossible conditioning.scales");
      rest /= scale;
      const std::string name = "conditioning.stages." + std::to_string(i);
      const float* weight = file.floats((name + ".weight").c_str(), product({up.channel_taps, 3, scale}));
      up.stages.push_back({scale, weight, file.floats((name + ".bias").c_str(), 1)[0]});
    }
    if (rest != 1) throw BadFile("has impossible conditioning.scales");
  }
}

Conditioning::Conditioning(const cpu::Isa& isa, const ConditioningNetwork& net)
    : net_(net),
      width_(net.early() ? net.gates.outputs : net.channels),
      gates_(isa, net.gates, kSamples),
      past_(net.taps() * net.channels),
      convolved_(net.channels),
      room_(most_frames(net)),
      rows_(kSamples * net.gates.outputs) {
  ready_.resize((room_ + net.context) * width_);  // `finish` pushes context
  const Upsampling& up = net.upsampling;
  if (net.frames.outputs) frames_ = std::make_unique<Convolution>(isa, net.frames, 1);
  if (up.deconvolution.outputs) {
    deconvolution_ = std::make_unique<Convolution>(isa, up.deconvolution, 1);
    steps_.resize(up.deconvolution.outputs);
  } else if (!up.stages.empty()) {
    const int64_t around = up.before + 1 + up.after, most = around * net.hop * (up.linear() ? around : net.channels);
    steps_.resize(most), others_.resize(most);
    if (up.linear()) unit_.resize(around * around);
  }
  reset();
}

void Conditioning::reset() {
  heard_ = 0, left_ = 0, begun_ = ended_ = false;
  held_ = deconvolution_ ? net_.upsampling.before : 0;  // zeros, for it has no ends
  std::fill(ready_.begin(), ready_.begin() + held_ * width_, 0.0f);
  at_ = held_ + net_.cut();
}

int64_t Conditioning::push(const float* frames, int64_t count) {
  int64_t taken = 0;
  for (; taken < count && held_ < room_ && !ended_; ++taken) {
    const float* frame = frames + taken * net_.channels;
    for (int64_t i = heard_ == 0 ? net_.context : 0; i > 0; --i) hear(frame);
    hear(frame);
  }
  return taken;
}

void Conditioning::finish() {
  if (ended_) return;
  ended_ = true;
  const float* last = past_.data() + (net_.taps() - 1) * net_.channels;
  for (int64_t i = heard_ == 0 ? 0 : net_.context; i > 0; --i) hear(last);
}

void Conditioning::hear(const float* frame) {
  const int64_t M = net_.channels, taps = net_.taps();
  float* newest = past_.data() + (taps - 1) * M;
  std::memmove(past_.data(), past_.data() + M, (taps - 1) * M * sizeof(float));
  std::copy(frame, frame + M, newest);
  ++heard_;
  if (heard_ < taps) return;
  float* to = ready_.data() + held_ * width_;
  ++held_;
  if (frames_) frames_->run(newest, M, 1, convolved_.data()), newest = convolved_.data();
  if (net_.early()) {
    gates_.run(newest, M, 1, to);
  } else {
    std::copy(newest, newest + M, to);
  }
}

int64_t Conditioning::next(int64_t count, Rows& rows) {
  const Upsampling& up = net_.upsampling;
  if (left_ == 0) {
    if (begun_) pass_frame();
    if (at_ + (ended_ ? net_.cut() : std::max(up.after, net_.cut())) >= held_) return 0;
    begin_frame();
  }
  const int64_t first = net_.hop - left_, C = net_.gates.outputs;
  count = std::min({count, left_, kSamples});
  left_ -= count;
  if (up.repeats()) {
    rows = {ready_.data() + at_ * width_, 0, 0};
    return count;
  }
  rows = {rows_.data(), 0, C};
  if (up.linear()) {
    mix(samples_ + first * around_, around_, ready_.data() + (at_ - before_) * C, C, count, rows_.data());
  } else {
    gates_.run(samples_ + first * net_.channels, net_.channels, count, rows_.data());
  }
  return count;
}

// Of the frames around there are less at the ends of a signal.
void Conditioning::begin_frame() {
  const Upsampling& up = net_.upsampling;
  left_ = net_.hop, begun_ = true;
  before_ = std::min(up.before, at_);
  around_ = before_ + 1 + (ended_ ? std::min(up.after, held_ - 1 - at_) : up.after);
  if (deconvolution_) {
    deconvolution_->run(ready_.data() + at_ * width_, width_, 1, steps_.data());
    samples_ = steps_.data();
  } else if (up.linear()) {
    std::fill(unit_.begin(), unit_.end(), 0.0f);
    for (int64_t f = 0; f < around_; ++f) unit_[f * around_ + f] = 1;
    upsample(unit_.data(), around_);
  } else if (!up.repeats()) {
    upsample(ready_.data() + (at_ - before_) * width_, width_);
  }
}

// The oldest may not be needed any more.
void Conditioning::pass_frame() {
  begun_ = false;
  if (at_ < net_.upsampling.before) {
    ++at_;
  } else {
    std::memmove(ready_.data(), ready_.data() + width_, --held_ * width_ * sizeof(float));
  }
}

void Conditioning::upsample(const float* frames, int64_t channels) {
  int64_t count = around_;
  float *to = steps_.data(), *other = others_.data();
  for (const Upsampling::Stage& stage : net_.upsampling.stages) {
    net_.upsampling.run(stage, frames, count, channels, to);
    count *= stage.scale;
    frames = to;
    std::swap(to, other);
  }
  samples_ = frames + before_ * net_.hop * channels;
}

}  // namespace wavenet::runtime
