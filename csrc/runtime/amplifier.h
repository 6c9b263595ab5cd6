// A WaveNet that a signal is played through, a model of a guitar amplifier, say: arrays of layers that hear the signal
// beside what the layer before gives; the sum of an array's activations goes on into the next one's, and in the end is
// the sound (wavenet/networks/amplifier.py).
#pragma once

#include <vector>

#include "cpu/isa.h"
#include "cpu/memory.h"
#include "runtime/weights.h"

namespace wavenet::runtime {

// What a file says, checked. Names are those of Layers there.
struct AmplifierNetwork {
  explicit AmplifierNetwork(const File& file);  // throws BadFile

  struct Layers {
    int64_t inputs, channels, K, outputs;  // the head's outputs
    bool gated;
    std::vector<int64_t> dilations;
    const float *input, *conv_weight, *conv_bias, *mixin, *out_weight, *out_bias, *head_weight, *head_bias;

    int64_t columns() const { return gated ? 2 * channels : channels; }  // a convolution's outputs
  };

  double sample_rate;
  float scale;
  std::vector<Layers> arrays;
};

class Amplifier {
 public:
  Amplifier(const cpu::Isa& isa, const AmplifierNetwork& net);  // throws std::bad_alloc

  // Nothing but silence was heard so far.
  void reset();

  void push(const float* samples, int64_t count, float* made);

 private:
  // A layer's weights, packed, and its input: what was heard before `position`, and room for more. When that is used
  // up, what the layer still wants to hear moves to the front.
  struct Layer {
    int64_t dilation, history, room, position;
    cpu::Memory conv, out, memory;
    cpu::Signals input;

    cpu::Signals at(int64_t step) const { return {input.data + step, input.stride, input.count}; }
    void make_room();
  };
  struct Array {
    int64_t channels, taps, outputs;
    bool gated;
    cpu::Memory input, head;
    std::vector<Layer> layers;
  };

  const float* piece(int64_t steps, bool silent);
  void product(const cpu::Memory& panels, const cpu::Signals* inputs, int64_t count, const cpu::Signals& added,
               const cpu::Signals& to, int64_t steps) const;

  const cpu::TimeKernels& kernels_;
  const float scale_;
  std::vector<Array> arrays_;
  cpu::Memory scratch_;
  cpu::Signals heard_, between_, activations_, sums_[2];  // of a piece, in scratch_
  std::vector<cpu::Signals> taps_;                        // room for them
};

}  // namespace wavenet::runtime
