// What a generator is told beside the samples: frames, of mels or notes, made into conditioning of its layers' gates.
// As ConditioningFrames of wavenet.generation.frames, but for the order of sums.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "layer.h"
#include "runtime/convolution.h"
#include "runtime/upsampling.h"

namespace wavenet::runtime {

// What its file says, checked.
struct ConditioningNetwork {
  ConditioningNetwork(const File& file, int64_t outputs);  // throws BadFile

  int64_t channels, hop;
  int64_t context;   // copies of the first and last frame before and after all
  Weights frames;    // a convolution over 2 context + 1 of them, or none
  Upsampling upsampling;
  Weights gates;     // (outputs, channels)

  // Whether the gates hear frames, which are upsampled then: the same numbers for a fraction of the work.
  bool early() const { return upsampling.repeats() || upsampling.linear(); }
  int64_t taps() const { return frames.outputs ? 2 * context + 1 : 1; }
  // Without a convolution over it, context is upsampled, too, and its samples are cut.
  int64_t cut() const { return frames.outputs ? 0 : context; }
};

class Conditioning {
 public:
  // Throws std::bad_alloc.
  Conditioning(const cpu::Isa& isa, const ConditioningNetwork& net);

  void reset();

  // Takes frames, (count, channels), while there is room; how many, and how many it takes at most.
  int64_t room() const { return ended_ ? 0 : room_ - held_ + net_.taps(); }
  int64_t push(const float* frames, int64_t count);
  void finish();  // that was all

  // Conditioning of the next samples, at most `count`: how many, 0 if frames are missing.
  int64_t next(int64_t count, Rows& rows);

 private:
  void hear(const float* frame);
  void begin_frame();
  void pass_frame();
  void upsample(const float* frames, int64_t channels);

  const ConditioningNetwork& net_;
  const int64_t width_;  // of a frame that is ready: channels, or gates
  std::unique_ptr<Convolution> frames_, deconvolution_;
  Convolution gates_;
  std::vector<float> past_;  // frames that the convolution over them sees, oldest first, or the last one
  int64_t heard_ = 0;
  std::vector<float> convolved_;
  std::vector<float> ready_;  // frames to be upsampled, from the first on that is still needed
  int64_t room_, held_ = 0, at_ = 0;  // of them; and the one whose samples are made now or next
  int64_t before_ = 0, around_ = 0;   // of it: frames that its samples depend on
  std::vector<float> steps_, others_;  // between stages
  std::vector<float> unit_;            // upsampled where that is linear, it says what each frame adds to a sample
  const float* samples_ = nullptr;     // (hop, channels or frames around)
  std::vector<float> rows_;
  int64_t left_ = 0;  // of its samples
  bool begun_ = false, ended_ = false;
};

}  // namespace wavenet::runtime
