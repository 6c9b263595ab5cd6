#include "runtime/network.h"

namespace wavenet::runtime {

namespace {

constexpr int64_t kMostFilterLayers = 8, kMostFilterBlocks = 64;

}  // namespace

Layers::Layers(const File& file) {
  R = file.integer("residual_channels", 1, kMostChannels);
  D = file.integer("dilation_channels", 1, kMostChannels);
  S = file.integer("skip_channels", 1, kMostChannels);
  K = file.integer("kernel_size", 1, kMostTaps);
  dilations = dilations_of(file, "dilations", R, K);
  const int64_t layers = static_cast<int64_t>(dilations.size());
  residual_scale = positive(file, "residual_scale", 1e9);
  conv = weights_of(file, "stack.conv_weight", layers, 2 * D, R, K);
  conv.bias = file.floats_or_null("stack.conv_bias", product({layers, 2 * D}));
  out = weights_of(file, "stack.out_weight", layers, R + S, D, 1);
  out.bias = file.floats_or_null("stack.out_bias", product({layers, R + S}));
  if ((conv.quantized == nullptr) != (out.quantized == nullptr)) throw BadFile("has int8 weights in half of its stack");
}

Network::Network(const File& file) : Layers(file) {
  sample_rate = positive(file, "sample_rate", 1e9);
  labels = file.texts("labels");

  input = static_cast<Input>(file.integer("input", 0, 2));
  clip_norm = file.has("clip_norm.level");
  if (clip_norm) {
    level = positive(file, "clip_norm.level", 1e9);
    silence = positive(file, "clip_norm.silence", 1e9);
    flat_variance = positive(file, "clip_norm.flat_variance", 1e9);
  }
  read_stem(file);

  frame_steps = file.integer("steps_per_frame", 1, kMostSteps);
  const int64_t in_step = R + S + stem_taps + stride + windows_per_step() * 2 * bands.count;
  if (product({frame_steps, in_step}) > kMostNumbers) throw BadFile("has impossible sizes");
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

void Network::read_stem(const File& file) {
  stem_taps = file.integer("stem_kernel_size", 1, kMostTaps);
  if (file.has("filters")) return read_bands(file);
  stride = file.integer("stem_stride", 1, stem_taps);
  stem = convolution(file, "stem", R, stem_taps, input == Input::one_hot ? kCodes : 1);
  if (input == Input::one_hot && stem.quantized) throw BadFile("has an int8 table");
}

void Network::read_bands(const File& file) {
  if (input == Input::one_hot) throw BadFile("has filters that hear codes");
  const int64_t count = bands.count = file.integer("filters", 1, kMostChannels);
  const int64_t layers = file.integer("filter_layers", 0, kMostFilterLayers);
  stride = file.integer("stem_stride", 1, kMostTaps);
  bands.stride = stride >> layers;
  if (bands.stride << layers != stride || bands.stride > stem_taps) throw BadFile("has an impossible stem_stride");
  bands.filters = weights_of(file, "stem.filters", 1, 2 * count, stem_taps, 1);
  bands.gain = file.floats("stem.gain", static_cast<uint64_t>(count));
  bands.offset = file.floats("stem.offset", static_cast<uint64_t>(count));
  bands.floor = static_cast<float>(positive(file, "stem.floor", 1e9));
  if (file.has("filter_blocks")) bands.blocks = file.integer("filter_blocks", 0, kMostFilterBlocks);
  const int64_t of_group = static_cast<int64_t>(bands.of_group());
  int64_t channels = 1, here = count;
  for (int64_t i = 0; i < layers * of_group; ++i) {
    const std::string name = "stem.layers." + std::to_string(i);
    const Array<int64_t> outputs = file.integers((name + ".channels").c_str());
    if (outputs.count != 1 || outputs.data[0] < 1 || outputs.data[0] > kMostChannels) {
      throw BadFile("has an impossible " + name);
    }
    if (i % of_group && outputs.data[0] != channels) throw BadFile("has an impossible " + name);
    bands.layers.push_back(convolution(file, name, outputs.data[0], 9 * channels, 1));
    channels = outputs.data[0];
    if (i % of_group == 0) here = halved(here);
    if (product({here + 2, channels}) > kMostNumbers) throw BadFile("has impossible sizes");
  }
  bands.mix = convolution(file, "stem.mix", R, here * channels, 1);
}

int64_t Network::lookahead() const {
  if (clip_norm) return 0;  // a window is a clip of its own
  int64_t frames = 0;
  for (const Weights& conv : head) frames += conv.taps / 2;
  return frames;
}

}  // namespace wavenet::runtime
