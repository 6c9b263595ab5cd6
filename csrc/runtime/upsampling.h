// How frames become samples: the loops of conditioning.h that take time.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/weights.h"

namespace wavenet::runtime {

// From frames to samples, scale by scale: every step that a frame becomes is a weighted sum of three frames, it and
// those beside it, and of neighbouring channels. No scales and no deconvolution: repetition.
struct Upsampling {
  struct Stage {
    int64_t scale;
    const float* weight;  // (channel taps, the frame before, itself, the one after; scale)
    float bias;
  };

  std::vector<Stage> stages;
  int64_t channel_taps = 1;
  float slope = 1;         // after each stage, of what is below zero
  Weights deconvolution;   // or (hop channels, channels, before + 1), from all channels to all
  int64_t before = 0, after = 0;  // frames that a frame's samples depend on

  bool repeats() const { return stages.empty() && deconvolution.outputs == 0; }
  bool linear() const;  // alike for all channels, but no repetition

  // x (frames, channels) -> y (frames scale, channels).
  void run(const Stage& stage, const float* x, int64_t frames, int64_t channels, float* y) const;
};

// Rows (count, channels) as sums of frames (around, channels), each by its factor for a row, (count, around).
void mix(const float* factors, int64_t around, const float* frames, int64_t channels, int64_t count, float* rows);

}  // namespace wavenet::runtime
