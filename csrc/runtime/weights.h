// What files of all kinds have in common: sizes within reason, and weights where they lie.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "runtime/file.h"

namespace wavenet::runtime {

// No network is larger; products of two of them are far from overflowing, and weights must be in the file anyway.
constexpr int64_t kMostChannels = 1 << 16, kMostTaps = 1 << 16, kMostLayers = 1 << 12, kMostSteps = 1 << 20;

// What a network may hold beside its weights, of its past or of a frame: files that ask for more are jokes, on the
// memory. Rows of fewer numbers are filled up to kLeastRow of them (kNarrow of cpu/isa.h, or a line of the cache).
constexpr int64_t kMostNumbers = int64_t{1} << 24, kLeastRow = 32;

// A convolution's weight (outputs, channels, taps), and its bias or none; of a stack, layer after layer. In int8 there
// is no `weight`, but `quantized`, of -64 to 64, with a scale for each output (cpu/quantized.h); in bfloat16 there are
// `halves`.
struct Weights {
  const float *weight = nullptr, *bias = nullptr;
  int64_t outputs = 0, channels = 0, taps = 1;
  const int8_t* quantized = nullptr;
  const float* scale = nullptr;
  const uint16_t* halves = nullptr;
  uint64_t count = 0;  // of all layers

  // For as long as they are wanted; none in int8. Throws std::bad_alloc.
  std::shared_ptr<const float> floats() const;
};

// All throw BadFile.
uint64_t product(std::initializer_list<int64_t> sizes);
double positive(const File& file, const char* name, double most);
Weights weights_of(const File& file, const std::string& name, int64_t layers, int64_t outputs, int64_t channels,
                   int64_t taps);
Weights convolution(const File& file, const std::string& name, int64_t outputs, int64_t channels, int64_t taps);

// Of layers of K taps and R channels, whose past fits into memory.
std::vector<int64_t> dilations_of(const File& file, const char* name, int64_t R, int64_t K);

}  // namespace wavenet::runtime
