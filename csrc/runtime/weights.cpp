#include "runtime/weights.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "cpu/quantized.h"

namespace wavenet::runtime {

uint64_t product(std::initializer_list<int64_t> sizes) {
  uint64_t count = 1;
  for (const int64_t size : sizes) {
    if (__builtin_mul_overflow(count, static_cast<uint64_t>(size), &count)) throw BadFile("has impossible sizes");
  }
  return count;
}

std::shared_ptr<const float> Weights::floats() const {
  if (!halves) return {std::shared_ptr<const float>(), weight};
  const std::shared_ptr<float> made(new float[count], std::default_delete<float[]>());
  for (uint64_t i = 0; i < count; ++i) {
    const uint32_t bits = uint32_t{halves[i]} << 16;
    std::memcpy(made.get() + i, &bits, sizeof bits);
  }
  return made;
}

// As float, bfloat16 or int8.
Weights weights_of(const File& file, const std::string& name, int64_t layers, int64_t outputs, int64_t channels,
                   int64_t taps) {
  Weights w;
  w.outputs = outputs, w.channels = channels, w.taps = taps;
  const uint64_t count = w.count = product({layers, outputs, channels, taps});
  if (file.has(name.c_str(), Type::int8)) {
    constexpr int64_t kMostSummed = std::numeric_limits<int32_t>::max() / (127 * cpu::kMostQuantized);
    if (channels > kMostSummed) throw BadFile("has sums beyond 32 bits in " + name);
    w.quantized = file.bytes(name.c_str(), count);
    w.scale = file.floats((name + ".scale").c_str(), product({layers, outputs}));
    const auto beyond = [](int8_t weight) { return weight < -cpu::kMostQuantized || weight > cpu::kMostQuantized; };
    if (std::any_of(w.quantized, w.quantized + count, beyond)) throw BadFile("has int8 weights beyond 64 in " + name);
  } else if (file.has(name.c_str(), Type::bfloat16)) {
    w.halves = file.halves(name.c_str(), count);
  } else {
    w.weight = file.floats(name.c_str(), count);
  }
  return w;
}

Weights convolution(const File& file, const std::string& name, int64_t outputs, int64_t channels, int64_t taps) {
  Weights w = weights_of(file, name + ".weight", 1, outputs, channels, taps);
  w.bias = file.floats((name + ".bias").c_str(), static_cast<uint64_t>(outputs));
  return w;
}

double positive(const File& file, const char* name, double most) {
  const double value = file.number(name);
  if (!(value >= std::numeric_limits<float>::min() && value <= most)) {
    throw BadFile("has an impossible " + std::string(name));
  }
  return value;
}

std::vector<int64_t> dilations_of(const File& file, const char* name, int64_t R, int64_t K) {
  const Array<int64_t> given = file.integers(name);
  if (given.count < 1 || given.count > static_cast<uint64_t>(kMostLayers)) throw BadFile("has impossible dilations");
  std::vector<int64_t> dilations;
  int64_t history = 0;
  for (uint64_t i = 0; i < given.count; ++i) {
    if (given.data[i] < 1 || given.data[i] > kMostSteps) throw BadFile("has impossible dilations");
    const uint64_t numbers = product({K - 1, given.data[i], std::max(R, kLeastRow)});
    if (numbers > static_cast<uint64_t>(kMostNumbers - history)) throw BadFile("has impossible dilations");
    history += static_cast<int64_t>(numbers);
    dilations.push_back(given.data[i]);
  }
  return dilations;
}

}  // namespace wavenet::runtime
