#include "runtime/conditioning.h"

#include <algorithm>
#include <cstring>

namespace wavenet::runtime {

namespace {

constexpr int64_t kFrames = 16;   // at least, that may be pushed beyond those that are needed
constexpr int64_t kSamples = 16;  // at a time: their conditioning stays in the cache
constexpr uint64_t kMostStages = 16;

// Frames that may lie there at once.
int64_t most_frames(const ConditioningNetwork& net) {
  const Upsampling& up = net.upsampling;
  return up.before + 1 + std::max(up.after, net.context) + kFrames;
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
  const int64_t width = std::max(channels, kLeastRow);
  const int64_t all = most_frames(*this) + taps() + context;
  if (product({all, width}) > kMostNumbers || product({around, hop, width}) > kMostNumbers ||
      product({kSamples, outputs}) > kMostNumbers) {
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
      gates_(isa, net.gates, kSamples),
      past_(net.taps() * net.channels),
      room_(most_frames(net)),
      rows_((net.repeats() ? 1 : kSamples) * net.gates.outputs) {
  ready_.resize((room_ + net.context) * net.channels);  // `finish` pushes context
  const Upsampling& up = net.upsampling;
  if (net.frames.outputs) frames_ = std::make_unique<Convolution>(isa, net.frames, 1);
  if (up.deconvolution.outputs) {
    deconvolution_ = std::make_unique<Convolution>(isa, up.deconvolution, 1);
    steps_.resize(up.deconvolution.outputs);
  } else if (!up.stages.empty()) {
    const int64_t most = (up.before + 1 + up.after) * net.hop * net.channels;
    steps_.resize(most), others_.resize(most);
  }
  reset();
}

void Conditioning::reset() {
  heard_ = 0, left_ = 0, ended_ = false;
  held_ = deconvolution_ ? net_.upsampling.before : 0;  // zeros, for it has no ends
  std::fill(ready_.begin(), ready_.begin() + held_ * net_.channels, 0.0f);
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
  float* to = ready_.data() + held_ * M;
  if (!frames_) {
    std::copy(frame, frame + M, to);
  } else if (heard_ >= taps) {
    frames_->run(newest, M, 1, to);
  } else {
    return;
  }
  ++held_;
}

int64_t Conditioning::next(int64_t count, Rows& rows) {
  const Upsampling& up = net_.upsampling;
  if (left_ == 0) {
    if (at_ + (ended_ ? net_.cut() : std::max(up.after, net_.cut())) >= held_) return 0;
    begin_frame();
  }
  rows = {rows_.data(), 0, net_.repeats() ? 0 : net_.gates.outputs};
  if (net_.repeats()) {
    count = std::min(count, left_);
  } else {
    count = std::min({count, left_, kSamples});
    gates_.run(samples_ + (net_.hop - left_) * net_.channels, net_.channels, count, rows_.data());
  }
  left_ -= count;
  return count;
}

void Conditioning::begin_frame() {
  const Upsampling& up = net_.upsampling;
  const int64_t M = net_.channels;
  const float* frame = ready_.data() + at_ * M;
  if (deconvolution_) {
    deconvolution_->run(frame, M, 1, steps_.data());
    samples_ = steps_.data();
  } else if (up.stages.empty()) {
    gates_.run(frame, M, 1, rows_.data());
  } else {
    const int64_t before = std::min(up.before, at_);
    const int64_t after = ended_ ? std::min(up.after, held_ - 1 - at_) : up.after;
    upsample(before, before + 1 + after);
  }
  left_ = net_.hop;
  if (at_ < up.before) {
    ++at_;
  } else {  // the oldest is not needed any more
    std::memmove(ready_.data(), ready_.data() + M, --held_ * M * sizeof(float));
  }
}

// The frames around the next one, of which there are less at the ends of a signal.
void Conditioning::upsample(int64_t before, int64_t frames) {
  const float* from = ready_.data() + (at_ - before) * net_.channels;
  float *to = steps_.data(), *other = others_.data();
  for (const Upsampling::Stage& each : net_.upsampling.stages) {
    stage(each, from, frames, to);
    frames *= each.scale;
    from = to;
    std::swap(to, other);
  }
  samples_ = from + before * net_.hop * net_.channels;
}

void Conditioning::stage(const Upsampling::Stage& stage, const float* x, int64_t frames, float* y) const {
  const int64_t M = net_.channels, taps = net_.upsampling.channel_taps;
  const float slope = net_.upsampling.slope;
  for (int64_t t = 0; t < frames * stage.scale; ++t, y += M) {
    const int64_t frame = t / stage.scale;
    std::fill(y, y + M, stage.bias);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t shift = tap - taps / 2, first = std::max<int64_t>(0, -shift), last = std::min(M, M - shift);
      for (int64_t n = -1; n <= 1; ++n) {
        if (frame + n < 0 || frame + n >= frames) continue;
        const float weight = stage.weight[(tap * 3 + n + 1) * stage.scale + t % stage.scale];
        const int64_t from = (frame + n) * M + shift;
        for (int64_t m = first; m < last; ++m) y[m] += weight * x[from + m];
      }
    }
    for (int64_t m = 0; m < M; ++m) y[m] = y[m] < 0 ? slope * y[m] : y[m];
  }
}

}  // namespace wavenet::runtime
