#include "runtime/amplifier.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace wavenet::runtime {

namespace {

constexpr int64_t kMostArrays = 16;

// Steps that go through all layers at a time: what lies between two layers stays in the nearest cache.
constexpr int64_t kPiece = 64;
constexpr int64_t kLeastRoom = 4 * kPiece;  // or moving to the front would be done too often

int64_t in_panels(int64_t rows) { return (rows + cpu::kTimePanel - 1) / cpu::kTimePanel * cpu::kTimePanel; }

// From row to row, an odd number of cache lines: or else all rows would want the same places of the cache.
int64_t stride_of(int64_t floats) { return (floats + 15) / 32 * 32 + 16; }

// A weight (outputs, channels, taps) in panels (in_time.h), tap after tap, with that of one input more, or none; `parts`
// of them, one after the other.
cpu::Memory in_order(const float* weight, const float* more, const float* bias, int64_t outputs, int64_t channels,
                     int64_t taps, int64_t parts = 1) {
  const int64_t inputs = channels * taps, all = inputs + (more ? 1 : 0);
  cpu::Memory memory = cpu::allocate(parts * in_panels(outputs) * (1 + all) * sizeof(float));
  float* to = reinterpret_cast<float*>(memory.get());
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t end = (part + 1) * outputs;
    for (int64_t first = part * outputs; first < end; first += cpu::kTimePanel) {
      for (int64_t i = -1; i < all; ++i) {
        const bool single = i < 0 || i == inputs;
        const float* from = i < 0 ? bias : single ? more : weight + i % channels * taps + i / channels;
        for (int64_t o = first; o < first + cpu::kTimePanel; ++o) {
          *to++ = from && o < end ? from[single ? o : o * inputs] : 0;
        }
      }
    }
  }
  return memory;
}

}  // namespace

AmplifierNetwork::AmplifierNetwork(const File& file) {
  sample_rate = positive(file, "sample_rate", 1e9);
  const double factor = file.number("scale");
  if (!(std::abs(factor) <= std::numeric_limits<float>::max())) throw BadFile("has an impossible scale");
  scale = static_cast<float>(factor);
  arrays = std::vector<Layers>(static_cast<size_t>(file.integer("arrays", 1, kMostArrays)));
  std::string name;
  const auto named = [&](const Layers& array, const char* what) {
    return (name = "arrays." + std::to_string(&array - arrays.data()) + "." + what).c_str();
  };
  int64_t inputs = 1;
  for (Layers& array : arrays) {
    array.inputs = inputs;
    inputs = array.channels = file.integer(named(array, "channels"), 1, kMostChannels);
  }
  for (Layers& array : arrays) {
    array.outputs = &array == &arrays.back() ? 1 : (&array)[1].channels;
    array.K = file.integer(named(array, "kernel_size"), 1, kMostTaps);
    array.gated = file.integer(named(array, "gated"), 0, 1) != 0;
    array.dilations = dilations_of(file, named(array, "dilations"), array.channels, array.K);
    const int64_t L = static_cast<int64_t>(array.dilations.size()), C = array.channels, columns = array.columns();
    const auto read = [&](const char* what, int64_t outputs, int64_t inputs, int64_t layers, int64_t taps) {
      return file.floats(named(array, what), product({layers, outputs, inputs, taps}));
    };
    array.input = read("input_weight", C, array.inputs, 1, 1);
    array.conv_weight = read("conv_weight", columns, C, L, array.K);
    array.conv_bias = read("conv_bias", columns, 1, L, 1);
    array.mixin = read("mixin_weight", columns, 1, L, 1);
    array.out_weight = read("out_weight", C, C, L, 1);
    array.out_bias = read("out_bias", C, 1, L, 1);
    array.head_weight = read("head_weight", array.outputs, C, 1, 1);
    array.head_bias = read("head_bias", array.outputs, 1, 1, 1);
  }
}

Amplifier::Amplifier(const cpu::Isa& isa, const AmplifierNetwork& net)
    : kernels_(*isa.of_float->in_time), scale_(net.scale), arrays_(net.arrays.size()) {
  int64_t rows = 0, taps = 0;
  for (size_t n = 0; n < arrays_.size(); ++n) {
    const AmplifierNetwork::Layers& from = net.arrays[n];
    Array& array = arrays_[n];
    const int64_t C = array.channels = from.channels, K = array.taps = from.K;
    array.gated = from.gated, array.outputs = from.outputs;
    rows = std::max(rows, in_panels(C)), taps = std::max(taps, K);
    array.input = in_order(from.input, nullptr, nullptr, C, from.inputs, 1);
    array.head = in_order(from.head_weight, nullptr, from.head_bias, from.outputs, C, 1);
    array.layers = std::vector<Layer>(from.dilations.size());
    for (size_t l = 0; l < array.layers.size(); ++l) {
      Layer& layer = array.layers[l];
      const int64_t column = static_cast<int64_t>(l) * from.columns();
      layer.conv = in_order(from.conv_weight + column * C * K, from.mixin + column, from.conv_bias + column, C, C, K,
                            from.gated ? 2 : 1);
      layer.out = in_order(from.out_weight + l * C * C, nullptr, from.out_bias + l * C, C, C, 1);
      layer.dilation = from.dilations[l];
      layer.history = (K - 1) * layer.dilation;
      layer.room = std::max(layer.history, kLeastRoom);
      layer.input = {nullptr, stride_of(layer.history + layer.room + kernels_.overrun), C};
      layer.memory = cpu::allocate(in_panels(C) * layer.input.stride * sizeof(float));
      layer.input.data = reinterpret_cast<float*>(layer.memory.get());
    }
  }
  taps_ = std::vector<cpu::Signals>(taps + 1);
  const int64_t stride = stride_of(kPiece + kernels_.overrun);
  scratch_ = cpu::allocate((1 + 5 * rows) * stride * sizeof(float));
  float* free = reinterpret_cast<float*>(scratch_.get());
  heard_ = {free, stride, 1}, free += stride;
  for (cpu::Signals* signals : {&between_, &sums_[0], &sums_[1], &activations_}) {
    *signals = {free, stride, rows}, free += rows * stride;
  }
  reset();
}

void Amplifier::Layer::make_room() {
  for (int64_t row = 0; row < input.count; ++row) {
    float* to = input.data + row * input.stride;
    std::memmove(to, to + position - history, history * sizeof *to);
  }
  position = history;
}

void Amplifier::product(const cpu::Memory& panels, const cpu::Signals* inputs, int64_t count, const cpu::Signals& added,
                        const cpu::Signals& to, int64_t steps) const {
  int64_t floats = cpu::kTimePanel;
  for (int64_t i = 0; i < count; ++i) floats += inputs[i].count * cpu::kTimePanel;
  kernels_.product(reinterpret_cast<const float*>(panels.get()), floats, inputs, count, added, to, steps);
}

// From heard_ through all layers to the sum of activations, whose rows are returned. `silent`: of one step, which is what
// every layer has heard ever since.
const float* Amplifier::piece(int64_t steps, bool silent) {
  cpu::Signals from = heard_, *sum = &sums_[0], *next = &sums_[1];
  std::memset(sum->data, 0, arrays_.front().channels * sum->stride * sizeof(float));
  for (Array& array : arrays_) {
    const int64_t C = array.channels, K = array.taps, gates = in_panels(C);
    const cpu::Memory* panels = &array.input;
    cpu::Signals x, z = activations_;
    for (Layer& layer : array.layers) {
      if (layer.position + steps > layer.history + layer.room) layer.make_room();
      product(*panels, &from, 1, x, layer.at(layer.position), steps);
      x = layer.at(layer.position);
      for (int64_t row = 0; silent && row < C; ++row) {
        float* now = x.data + row * x.stride;
        std::fill(now - layer.history, now, *now);
      }
      for (int64_t k = 0; k < K; ++k) taps_[k] = layer.at(layer.position - (K - 1 - k) * layer.dilation);
      taps_[K] = heard_;
      z.count = array.gated ? 2 * gates : C;
      product(layer.conv, taps_.data(), K + 1, {}, z, steps);
      z.count = C;
      kernels_.activate(z, array.gated ? z.data + gates * z.stride : nullptr, sum->data, steps);
      panels = &layer.out, from = z;
      if (!silent) layer.position += steps;
    }
    if (&array != &arrays_.back()) {
      between_.count = C;
      product(*panels, &from, 1, x, between_, steps);
      from = between_;
    }
    sum->count = C, next->count = array.outputs;
    product(array.head, sum, 1, {}, *next, steps);
    std::swap(sum, next);
  }
  return sum->data;
}

void Amplifier::reset() {
  std::memset(heard_.data, 0, heard_.stride * sizeof(float));
  for (Array& array : arrays_) {
    for (Layer& layer : array.layers) layer.position = layer.history;
  }
  piece(1, true);
}

void Amplifier::push(const float* samples, int64_t count, float* made) {
  for (int64_t at = 0, steps; at < count; at += steps) {
    steps = std::min(kPiece, count - at);
    std::copy(samples + at, samples + at + steps, heard_.data);
    const float* sum = piece(steps, false);
    for (int64_t t = 0; t < steps; ++t) made[at + t] = scale_ * sum[t];
  }
}

}  // namespace wavenet::runtime
