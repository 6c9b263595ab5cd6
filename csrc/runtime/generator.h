// A WaveNet that makes sound, sample by sample: the same bits as wavenet.generation.generate on the same processor.
#pragma once

#include <vector>

#include "cpu/sampler.h"
#include "runtime/weights.h"

namespace wavenet::runtime {

// What a generator's file says, checked. Names are those of SampleNetwork (wavenet_kernels/sampling/network.py).
struct GeneratorNetwork {
  explicit GeneratorNetwork(const File& file);  // throws BadFile

  double sample_rate;
  cpu::SampleNetwork network;
  const float* values = nullptr;  // of codes: the samples that they stand for
  float gain = 1;                 // of the sound that the network makes

 private:
  std::vector<Weights> held_;
};

class Generator {
 public:
  Generator(const cpu::Isa& isa, const GeneratorNetwork& net, uint64_t seed, float temperature);

  void reset() { sampler_.reset(); }

  // The next samples. False if the network says what is not finite; it stays there then.
  bool run(float* samples, int64_t count);

 private:
  const GeneratorNetwork& net_;
  cpu::Sampler sampler_;
  const uint64_t seed_;
  const float temperature_;
  std::vector<int64_t> codes_;
};

}  // namespace wavenet::runtime
