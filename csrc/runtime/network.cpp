#include "runtime/network.h"

#include <cmath>
#include <initializer_list>

namespace wavenet::runtime {

namespace {

// No network is larger; products of two of them are far from overflowing, and weights must be in the file anyway.
constexpr int64_t kMostChannels = 1 << 16, kMostTaps = 1 << 16, kMostLayers = 1 << 12, kMostSteps = 1 << 20;
// What the layers may keep, and what a frame may take, in numbers: files that ask for more are jokes, on the memory.
constexpr int64_t kMostHistory = int64_t{1} << 26, kMostInFrame = int64_t{1} << 26;

uint64_t product(std::initializer_list<int64_t> sizes) {
  uint64_t count = 1;
  for (const int64_t size : sizes) {
    if (__builtin_mul_overflow(count, static_cast<uint64_t>(size), &count)) throw BadFile("has impossible sizes");
  }
  return count;
}

Weights convolution(const File& file, const std::string& name, int64_t outputs, int64_t channels, int64_t taps) {
  return {file.floats((name + ".weight").c_str(), product({outputs, channels, taps})),
          file.floats((name + ".bias").c_str(), static_cast<uint64_t>(outputs)), outputs, channels, taps};
}

double positive(const File& file, const char* name, double most) {
  const double value = file.number(name);
  if (!(value > 0 && value <= most)) throw BadFile("has an impossible " + std::string(name));
  return value;
}

}  // namespace

Network::Network(const File& file) {
  if (file.texts("kind") != std::vector<std::string>{"classifier"}) throw BadFile("is no classifier");
  sample_rate = positive(file, "sample_rate", 1e9);
  labels = file.texts("labels");

  input = static_cast<Input>(file.integer("input", 0, 2));
  clip_norm = file.has("clip_norm.level");
  if (clip_norm) {
    level = positive(file, "clip_norm.level", 1e9);
    silence = positive(file, "clip_norm.silence", 1e9);
    flat_variance = positive(file, "clip_norm.flat_variance", 1e9);
  }
  R = file.integer("residual_channels", 1, kMostChannels);
  D = file.integer("dilation_channels", 1, kMostChannels);
  S = file.integer("skip_channels", 1, kMostChannels);
  K = file.integer("kernel_size", 1, kMostTaps);
  stem_taps = file.integer("stem_kernel_size", 1, kMostTaps);
  stride = file.integer("stem_stride", 1, stem_taps);
  stem = convolution(file, "stem", R, stem_taps, input == Input::one_hot ? kCodes : 1);

  const Array<int64_t> given = file.integers("dilations");
  if (given.count < 1 || given.count > static_cast<uint64_t>(kMostLayers)) throw BadFile("has impossible dilations");
  int64_t history = 0;
  for (uint64_t i = 0; i < given.count; ++i) {
    if (given.data[i] < 1 || given.data[i] > kMostSteps) throw BadFile("has impossible dilations");
    const uint64_t rows = product({K - 1, given.data[i], R});
    if (rows > static_cast<uint64_t>(kMostHistory - history)) throw BadFile("has impossible dilations");
    history += static_cast<int64_t>(rows);
    dilations.push_back(given.data[i]);
  }
  const int64_t layers = static_cast<int64_t>(dilations.size());
  residual_scale = positive(file, "residual_scale", 1e9);
  conv_weight = file.floats("stack.conv_weight", product({layers, 2 * D, R, K}));
  conv_bias = file.floats_or_null("stack.conv_bias", product({layers, 2 * D}));
  out_weight = file.floats("stack.out_weight", product({layers, R + S, D}));
  out_bias = file.floats_or_null("stack.out_bias", product({layers, R + S}));

  frame_steps = file.integer("steps_per_frame", 1, kMostSteps);
  if (product({frame_steps, R + S + stride}) > kMostInFrame) throw BadFile("has impossible sizes");
  int64_t channels = S;
  const int64_t head_layers = file.integer("head_layers", 0, kMostLayers);
  if (head_layers > 0) {
    const int64_t outputs = file.integer("head_channels", 1, kMostChannels);
    const int64_t taps = file.integer("head_kernel_size", 1, kMostTaps);
    if (taps % 2 == 0) throw BadFile("has an even head_kernel_size");
    for (int64_t i = 0; i < head_layers; ++i, channels = outputs) {
      head.push_back(convolution(file, "head.convs." + std::to_string(i), outputs, channels, taps));
    }
  }
  pooling = static_cast<PoolingKind>(file.integer("pooling", 0, 2));
  if (pooling == PoolingKind::attention) score = convolution(file, "pooling.score", 1, channels, 1);
  classifier = convolution(file, "classifier", static_cast<int64_t>(labels.size()), channels, 1);
}

int64_t Network::lookahead() const {
  if (clip_norm) return 0;  // a window is a clip of its own
  int64_t frames = 0;
  for (const Weights& conv : head) frames += conv.taps / 2;
  return frames;
}

}  // namespace wavenet::runtime
