// What a generator is told beside the samples: frames, of mels or notes, made into conditioning of its layers' gates. The
// same numbers as ConditioningFrames of wavenet.generation.frames, in the order of other sums.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "layer.h"
#include "runtime/convolution.h"

namespace wavenet::runtime {

// From frames to samples, scale by scale: every number of a frame is the sum of three frames' and of neighbouring
// channels' numbers, each with a weight for every step that the frame becomes. No scales and no deconvolution: repetition.
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
};

// What its file says, checked.
struct ConditioningNetwork {
  ConditioningNetwork(const File& file, int64_t outputs);  // throws BadFile

  int64_t channels, hop;
  int64_t context;   // copies of the first and last frame before and after all
  Weights frames;    // a convolution over 2 context + 1 of them, or none
  Upsampling upsampling;
  Weights gates;     // (outputs, channels)

  bool repeats() const { return upsampling.stages.empty() && upsampling.deconvolution.outputs == 0; }
  int64_t taps() const { return frames.outputs ? 2 * context + 1 : 1; }
  // Without a convolution over it, context is upsampled, too, and its samples are cut.
  int64_t cut() const { return frames.outputs ? 0 : context; }
};

class Conditioning {
 public:
  // Throws std::bad_alloc.
  Conditioning(const cpu::Isa& isa, const ConditioningNetwork& net);

  void reset();

  // Takes frames, (count, channels), while there is room; how many.
  int64_t push(const float* frames, int64_t count);
  void finish();  // that was all

  // Conditioning of the next samples, at most `count`: how many, 0 if frames are missing.
  int64_t next(int64_t count, Rows& rows);

 private:
  void hear(const float* frame);
  void begin_frame();
  void upsample(int64_t before, int64_t frames);
  void stage(const Upsampling::Stage& stage, const float* x, int64_t frames, float* y) const;

  const ConditioningNetwork& net_;
  std::unique_ptr<Convolution> frames_, deconvolution_;
  Convolution gates_;
  std::vector<float> past_;  // frames that the convolution over them sees, oldest first, or the last one
  int64_t heard_ = 0;
  std::vector<float> ready_;  // frames to be upsampled, from the first on that is still needed
  int64_t room_, held_ = 0, at_ = 0;  // of them, and which is the next
  std::vector<float> steps_, others_;  // between stages
  const float* samples_ = nullptr;     // (hop, channels), of the frame whose samples are being made
  std::vector<float> rows_;
  int64_t left_ = 0;  // of its samples
  bool ended_ = false;
};

}  // namespace wavenet::runtime
