// A small convolution of rows, by the same kernels as the residual stack: stem, head, attention and the last layer, in
// float or int8.
#pragma once

#include "cpu/isa.h"
#include "cpu/memory.h"
#include "cpu/quantized.h"
#include "runtime/network.h"

namespace wavenet::runtime {

class Convolution {
 public:
  // Weights are copied. `most_rows`: of one call. Throws std::bad_alloc.
  Convolution(const cpu::Isa& isa, const Weights& weights, int64_t most_rows);

  // y[t] = sum_k W_k x[t - (taps - 1) + k] + b for t < rows, x being row 0, with as many rows as there are taps before
  // it. Rows of x are `stride` floats apart, those of y lie one after the other.
  void run(const float* x, int64_t stride, int64_t rows, float* y);

 private:
  void quantize(const Weights& weights, int64_t most_rows);

  const cpu::Kernels& kernels_;
  const cpu::QuantizedKernels& quantized_kernels_;
  cpu::QuantizedMatrix quantized_;
  cpu::QuantizedRows inputs_{};  // of int8
  Layer layer_;
  cpu::Memory packed_, scratch_, bytes_, scales_;
};

}  // namespace wavenet::runtime
