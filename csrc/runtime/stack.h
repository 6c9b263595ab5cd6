// The residual layers of a network over a signal, in float or int8.
#pragma once

#include <memory>

#include "cpu/quantized_stream.h"
#include "cpu/stream.h"
#include "runtime/network.h"

namespace wavenet::runtime {

class Stack {
 public:
  // `most_steps`: of a usual step; longer ones are taken in pieces. Throws std::bad_alloc.
  Stack(const cpu::Isa& isa, const Layers& layers, int64_t most_steps);

  void reset();

  // The next steps: rows of R floats, which are worked on, give rows of S.
  void step(int64_t steps, float* rows, float* skip);

 private:
  std::unique_ptr<cpu::Stream> floats_;
  std::unique_ptr<cpu::QuantizedStream> quantized_;
  int64_t R_, S_;
};

// A stack by itself, whose inputs stay what they are.
class PlainStack {
 public:
  PlainStack(const cpu::Isa& isa, const Layers& layers);

  void reset() { stack_.reset(); }
  void push(const float* rows, int64_t count, float* skip);

 private:
  int64_t R_, S_;
  Stack stack_;
  std::vector<float> rows_;  // of a piece
};

}  // namespace wavenet::runtime
