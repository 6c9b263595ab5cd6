// The frames that a decision is about, as one: their mean, maximum, or mean weighted by attention.
#pragma once

#include <memory>
#include <vector>

#include "runtime/convolution.h"

namespace wavenet::runtime {

class Pooling {
 public:
  // Of the last `window` frames; 0: of all, by running sums. These are doubles: an hour has 360,000 frames.
  Pooling(const cpu::Isa& isa, const Network& net, int64_t window);

  void reset();
  void push(const float* frame);
  void pooled(float* to) const;  // of the frames so far, at least one

 private:
  void add(const float* frame, double weight, double* sums) const;

  const PoolingKind kind_;
  const int64_t channels_, window_;
  std::unique_ptr<Convolution> score_;
  std::vector<float> frames_, scores_;  // rings
  int64_t pushed_ = 0;
  mutable std::vector<double> sums_;    // for "max" the maximum
  double weight_ = 0, highest_ = 0;     // of all frames: the sum of weights; the score that they are relative to
};

}  // namespace wavenet::runtime
