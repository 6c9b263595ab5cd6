// A stem of band filters: their log energies, layers over neighbouring bands and times, and their mix. The same as
// FilterbankStem of wavenet.networks.stem, a time after the other.
#pragma once

#include <vector>

#include "runtime/convolution.h"

namespace wavenet::runtime {

class Filterbank {
 public:
  Filterbank(const cpu::Isa& isa, const Network& net);

  void reset();

  // How many times until so many steps are complete.
  int64_t wanted(int64_t steps) const { return until_ + (steps - 1) * times_per_step_; }

  // What the filters say of the next time, cosines then sines; whether that completes a step, a row of R floats.
  bool hear(const float* filtered, float* row);

 private:
  // A layer and its last inputs: for each band, between two of zeros, three times of all channels side by side. So an
  // output is one product with what lies from a band on.
  struct Layer {
    Convolution convolution;
    int64_t bands, channels, step;  // step: bands from one output to the next, and times
    std::vector<float> inputs, outputs;  // outputs: (bands, channels)
    int64_t filled = 0;                  // times

    Layer(const cpu::Isa& isa, const Weights& weights, int64_t bands, int64_t step);
    // (bands, channels); what they complete, or none. A block's second layer is told of its first one, and adds what that
    // has just heard.
    const float* hear(const float* values, const Layer* first = nullptr);
  };

  const Bands& bands_;
  const int64_t times_per_step_;
  std::vector<Layer> layers_;
  Convolution mix_;
  std::vector<float> energies_, silence_;
  int64_t until_ = 1;  // times until the next step
};

}  // namespace wavenet::runtime
