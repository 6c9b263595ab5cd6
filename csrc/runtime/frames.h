// From samples to frames, in two parts, each of which keeps what it still needs of the past and nothing else. The same
// as wavenet.classifier.inference.streaming, in C++.
#pragma once

#include <memory>
#include <vector>

#include "runtime/filterbank.h"
#include "runtime/stack.h"

namespace wavenet::runtime {

// The stem: a row of R channels every `stride` samples, by a convolution or by filters.
class Stem {
 public:
  Stem(const cpu::Isa& isa, const Network& net);

  void reset();

  // How many samples until `steps` are complete, and the next samples, at most as many.
  int64_t wanted(int64_t steps) const;
  void hear(const float* samples, int64_t count);

  // The steps that are complete, at most `steps`: rows of R floats. They are gone afterwards.
  int64_t take(int64_t steps, float* rows);

 private:
  int64_t windows(int64_t steps) const { return bands_ ? bands_->wanted(steps) : steps; }
  void compand(int64_t begin, int64_t end);
  void embed(const float* codes, float* row) const;

  const Network& net_;
  const cpu::SampleKernels& kernels_;
  std::unique_ptr<Convolution> convolution_;  // but for one-hot codes
  std::unique_ptr<Filterbank> bands_;
  std::vector<float> filtered_;  // of a frame: what the filters say
  std::vector<float> table_, bias_;           // of one-hot codes
  std::vector<float> samples_;                // as the network hears them; the oldest that is needed still comes first
  int64_t filled_ = 0;
};

// Samples -> means over frames of what is above zero in the stack's skip sum.
class FrameMeans {
 public:
  FrameMeans(const cpu::Isa& isa, const Network& net);

  void reset();
  int64_t wanted() const { return stem_.wanted(net_.frame_steps); }  // samples, until the next frame is complete
  void hear(const float* samples, int64_t count) { stem_.hear(samples, count); }

  // The next frame, S floats; at the signal's end also a short one. Whether there is one.
  bool take(float* means);

 private:
  const Network& net_;
  Stem stem_;
  Stack stack_;
  std::vector<float> rows_, skip_;
};

// The convolutions over frames, which look ahead.
class Head {
 public:
  Head(const cpu::Isa& isa, const Network& net);

  void reset();

  // The next frame of S channels; what it completes, or none. Valid until the next call.
  const float* hear(const float* means) { return pass(0, means); }

  // At the signal's end: frames that were waiting, while `ended()` is false. Each call gives one or none.
  const float* hear_end();
  bool ended() const { return ending_ == layers_.size(); }

 private:
  struct Layer {
    Convolution convolution;
    Weights sizes;
    std::vector<float> past;  // the last frames, as many as taps
    std::vector<float> out, zeros;
    int64_t seen = 0;
  };

  const float* pass(std::size_t layer, const float* frame);

  std::vector<Layer> layers_;
  std::size_t ending_ = 0;  // the layer that hears zeros now
  int64_t zeros_heard_ = 0;
};

}  // namespace wavenet::runtime
