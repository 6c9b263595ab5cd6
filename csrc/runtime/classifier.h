// A classifier that listens: samples in, decisions with times out. The same decisions at the same times as
// wavenet.classifier.inference.streaming.StreamingClassifier, where they are explained.
#pragma once

#include <memory>
#include <vector>

#include "runtime/listener.h"

namespace wavenet::runtime {

struct Decision {
  double start, end;  // seconds
  const float *logits, *probabilities;
  int64_t best;
};

class Classifier {
 public:
  // Windows and hops in frames; window 0: all since the start. Throws std::bad_alloc.
  Classifier(const cpu::Isa& isa, const Network& net, int64_t window, int64_t hop);

  void reset();

  // Takes finite samples until a decision is waiting; how many it took, and how many it takes at most.
  int64_t room() const { return (hop_ + net_.lookahead() + 1) * net_.frame_samples(); }
  int64_t push(const float* samples, int64_t count);
  void finish() { finished_ = true; }
  bool read(Decision& decision);  // the one that waits

  double delay() const { return static_cast<double>(net_.lookahead() * net_.frame_samples()) / net_.sample_rate; }

 private:
  void count_frame();
  void decide();

  const Network& net_;
  const int64_t window_, hop_;
  std::unique_ptr<Listener> listener_;
  Convolution last_;
  std::vector<float> pooled_, logits_, probabilities_;
  int64_t samples_ = 0, frames_ = 0, decided_ = 0;
  double start_ = 0, end_ = 0;
  bool waiting_ = false, finished_ = false, ended_ = false;
};

}  // namespace wavenet::runtime
