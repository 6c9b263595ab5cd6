// Products of int8: what an instruction set offers (quantized_kernels.cpp), and the packing of weights for it.
//
//   weights      whole numbers from -64 to 64, with a scale for each output: w = scale * number
//   activations  rows of bytes, with a scale for each row: x = scale * (byte - 64), bytes from 1 to 127. A row is
//                quantised by itself, so that a result does not depend on how a signal was cut
//
// Seven bits, because then four products fit into 16 bits: 4 * 127 * 64 < 2^15. Processors without an instruction for
// dot products of bytes multiply pairs into 16 bits that saturate, and here that can't happen. Sums are exact in 32
// bits, and the same numbers come out on every processor, but for rounding where scales are applied.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/isa.h"
#include "cpu/memory.h"

namespace wavenet::cpu {

constexpr int64_t kMostQuantized = 64;  // of a weight; also the byte that is zero

// What the kernels see has no function that the linker could take from one of them for another: no members, and static
// functions (units.h).

// Rows that were quantised; the oldest may be anywhere before row 0.
struct QuantizedRows {
  uint8_t* data;
  float* scales;
  int64_t bytes;  // of a row: the channels, filled up to whole groups of 8
};

[[maybe_unused]] static inline QuantizedRows rows_from(const QuantizedRows& x, int64_t row) {
  return {x.data + row * x.bytes, x.scales + row, x.bytes};
}

[[maybe_unused]] static inline int64_t quantized_bytes(int64_t channels) { return (channels + 7) / 8 * 8; }

// Packed weights: panels of two vectors of outputs, the last one perhaps of one.
//
//   panel  = [ scales: width floats ][ biases: width floats ][ taps ]
//   tap    = [ -64 * the sum of an output's weights: width int32 ][ groups of 4 channels: width x 4 int8 ]
struct QuantizedPanels {
  int64_t vectors, taps, bytes;  // bytes: of a row of inputs
  const char* data;
};

[[maybe_unused]] static inline int64_t panel_bytes(const QuantizedPanels& m, int64_t width) {
  return width * (8 + m.taps * (4 + m.bytes));
}

struct QuantizedMatrix : QuantizedPanels {
  QuantizedMatrix() : QuantizedPanels{0, 1, 0, nullptr} {}

  Memory held;
};

struct QuantizedWeights {
  const int8_t* weight;  // (outputs, channels, taps)
  const float* scale;    // (outputs)
  const float* bias;     // (outputs) or absent
  int64_t channels, taps;
};

// `count` outputs from `first` on, filled up to whole vectors by -1.
void append_outputs(std::vector<int64_t>& outputs, int64_t first, int64_t count, int64_t lanes);
std::vector<int64_t> outputs_of(int64_t first, int64_t count, int64_t lanes);

// Output `outputs[i]` comes i-th; -1: zero. Their number is one of whole vectors. Throws std::bad_alloc.
QuantizedMatrix pack_quantized(int64_t lanes, const std::vector<int64_t>& outputs, const QuantizedWeights& weights);

// A residual layer. Outputs of the convolution are vectors of filters and gates in turns. The last one has no residual.
struct QuantizedLayer {
  int64_t R = 0, D = 0, S = 0, dilation = 1;
  float residual_scale = 1;
  QuantizedMatrix convolution, residual, skip;
};

struct QuantizedKernels {
  int64_t lanes;

  void (*quantize)(const float* x, int64_t stride, int64_t rows, int64_t channels, const QuantizedRows& to);

  // y[t] = sum_k W_k x[t - (taps - 1) + k] + b, `outputs` of each row.
  void (*convolve)(const QuantizedPanels& matrix, const QuantizedRows& x, int64_t rows, int64_t outputs, float* y);

  // `rows` are those that x was made of, and become the layer's residual; the skip sum is written or added to.
  int64_t (*scratch_bytes)(const QuantizedLayer& layer, int64_t rows);
  void (*layer)(const QuantizedLayer& layer, const QuantizedRows& x, int64_t count, float* rows, float* skip,
                bool add_skip, void* scratch);
};

// The fastest ones for this processor among those of an instruction set.
const QuantizedKernels& quantized_kernels(const Isa& isa);

}  // namespace wavenet::cpu
