// A WaveNet that makes sound, sample by sample: what wavenet.generation.generate makes (wavenet.h says to which bit).
#pragma once

#include <memory>
#include <vector>

#include "cpu/sampler.h"
#include "runtime/conditioning.h"
#include "runtime/weights.h"

namespace wavenet::runtime {

// What a generator's file says, checked. Names are those of SampleNetwork (wavenet_kernels/sampling/network.py).
struct GeneratorNetwork {
  explicit GeneratorNetwork(const File& file);  // throws BadFile

  double sample_rate;
  cpu::SampleNetwork network;
  std::unique_ptr<ConditioningNetwork> conditioning;  // or none
  const float* values = nullptr;  // of codes: the samples that they stand for
  float companding = 0;           // mu, where the network's samples are companded
  double pre_emphasis = 0;        // and gain: of the sound that the network makes
  float gain = 1;

 private:
  std::vector<std::shared_ptr<const float>> held_;
};

class Generator {
 public:
  Generator(const cpu::Isa& isa, const GeneratorNetwork& net, uint64_t seed, float temperature);

  void reset();

  // Frames of its conditioning, of which it must have some.
  int64_t room() const { return conditioning_->room(); }
  int64_t push(const float* frames, int64_t count) { return conditioning_->push(frames, count); }
  void finish() { conditioning_->finish(); }

  // The next samples: how many, fewer where frames are missing; -1 if the network says what is not finite, where it
  // stays then.
  int64_t run(float* samples, int64_t count);

 private:
  void finish_sound(float* samples, int64_t count);

  const GeneratorNetwork& net_;
  cpu::Sampler sampler_;
  std::unique_ptr<Conditioning> conditioning_;
  const uint64_t seed_;
  const float temperature_;
  std::vector<int64_t> codes_;
  double last_ = 0;  // sample, without pre-emphasis
};

}  // namespace wavenet::runtime
