// What one instruction set offers: the work on one tile of rows, and the packing of weights for it.
// The same source (isa.cpp) is compiled for each set, in floats and in doubles; dispatch.cpp chooses.
#pragma once

#include <cstdint>

#include "cpu/gradient.h"
#include "layer.h"

namespace wavenet::cpu {

// Which operator a Layer stands for, that is where it starts and ends.
enum class Operator { conv, gate, gated_conv, block };

// Rows of no more floats than these are narrow: where rows of x are so far apart, products take them as they lie
// (fast.h).
constexpr int64_t kNarrow = 32;

// The sampling loop's share (sample.h), of floats.
struct SampleKernels {
  int64_t lanes;
  int64_t (*panel)(int64_t rows);
  void (*product)(const void* weights, bool half, int64_t width, int64_t outputs, int64_t begin, int64_t end,
                  int64_t inputs, int64_t rows, const float* const* x, float* const* y);
  void (*sum)(const float* const* terms, int64_t count, int64_t begin, int64_t end, float* to);
  void (*gate)(const float* filters, const float* gates, int64_t channels, float* z);
  void (*exp)(const float* x, int64_t count, float largest, float scale, float* to);
  void (*compand)(const float* x, int64_t count, float mu, float* to);  // compand.h
};

// Signals in rows, one for each channel, `stride` floats from one to the next.
struct Signals {
  float* data = nullptr;
  int64_t stride = 0, count = 0;
};

// The products with time along the vectors (in_time.h), of floats.
struct TimeKernels {
  // What of a row is written, and read of others, behind its last step.
  int64_t overrun;

  // to = biases + weights * inputs (+ added), in panels of kTimePanel outputs: so many more rows may be written.
  void (*product)(const float* panels, int64_t panel_floats, const Signals* inputs, int64_t count,
                  const Signals& added, const Signals& to, int64_t steps);

  // signals = tanh of them, times sigmoid(gates) if there are any; sums += that. All have one stride.
  void (*activate)(const Signals& signals, const float* gates, float* sums, int64_t steps);
};

constexpr int64_t kTimePanel = 4;

// For activations of the types that are computed on in one type, the Real. Weights, packed or not, and their
// gradients are Reals. `scratch` is 64-byte aligned and holds scratch_bytes for a tile of so many units (units.h).
struct Kernels {
  int64_t block_rows;  // rows of the micro-kernel; the units of a tile are best a multiple of it
  bool fast;           // whether convolutions may be fast ones (fast.h)

  // Weights are packed unit by unit, so that threads can share the work.
  int64_t (*packed_reals)(const Layer&, Operator);
  int64_t (*pack_units)(const Layer&, Operator);
  void (*pack)(const Layer&, Operator, int64_t unit, void* packed);

  bool (*has_zero_weight)(const Layer&);  // a convolution that might be a fast one
  int64_t (*scratch_bytes)(const Layer&, Operator, int64_t units);
  void (*tile)(const Layer&, Operator, const void* packed, int64_t b, int64_t begin, int64_t end, void* scratch);

  // The same for a layer's gradient: pass 1 adds to the slice, pass 2 writes grad_x (backward.h).
  int64_t (*backward_packed_reals)(const Gradient&, Operator);
  int64_t (*backward_pack_units)(const Gradient&, Operator);
  void (*backward_pack)(const Gradient&, Operator, int64_t unit, void* packed);
  int64_t (*backward_scratch_bytes)(const Gradient&, Operator, int64_t units, int64_t x_units);
  void (*backward_tile)(const Gradient&, Operator, const void* packed, int64_t b, int64_t begin, int64_t end,
                        void* scratch, const Slice& to, void* ga_sums);
  void (*backward_x_tile)(const Gradient&, Operator, const void* packed, int64_t b, int64_t begin, int64_t end,
                          void* scratch);
  void (*sum_slices)(const void* slices, int64_t stride, int64_t number, int64_t count, void* to, int64_t to_stride);
  void (*copy_rows)(const Rows& from, int64_t b, int64_t begin, int64_t end, int64_t channels, DType dtype,
                    const Rows& to);
  void (*store_reals)(const void* from, int64_t count, DType dtype, void* to);
  const SampleKernels* sample;  // of floats; else none
  const TimeKernels* in_time;
};

struct Isa {
  const char* name;
  const Kernels* of_float;
  const Kernels* of_double;
  const Kernels* of_bfloat16 = nullptr;  // where bfloat16 is multiplied as such; else in floats

  const Kernels& of(DType dtype) const {
    if (dtype == DType::bfloat16 && of_bfloat16) return *of_bfloat16;
    return dtype == DType::float64 ? *of_double : *of_float;
  }
};

[[maybe_unused]] static inline int64_t real_bytes(DType dtype) { return dtype == DType::float64 ? 8 : 4; }
[[maybe_unused]] static inline int64_t storage_bytes(DType dtype) {
  return dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2;
}

extern const Kernels kernels_portable_float, kernels_portable_double;
extern const Kernels kernels_avx2_float, kernels_avx2_double;
extern const Kernels kernels_avx512_float, kernels_avx512_double, kernels_avx512bf16_float, kernels_amx_float;
extern const Kernels kernels_portablebf16_float, kernels_portableamx_float;
extern const Kernels kernels_neon_float, kernels_neon_double;
bool tiles_of_amx_agree(), tiles_of_portableamx_agree();  // with vectors, in a product

}  // namespace wavenet::cpu
