// The sampling loop of a WaveNet: from the last samples through input, residual stack and head to the parameters of
// the next one, which is drawn and fed back. Reference: wavenet_kernels/sampling/sampler.py.
//
//   past taps   of a sample are known before it is: their products are made for up to kSamplesAhead samples at a time,
//               which read the weights once
//   skips       are one product of all layers' gated activations, side by side
//   signals     share each read of the weights
//   threads     compute some outputs each of every product, the same ones always, whose weights stay in their caches;
//               they meet twice in a layer
//
// Sums are in one order always, so that a signal comes out bit by bit the same in any batch, calls and threads.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "cpu/isa.h"
#include "cpu/memory.h"
#include "cpu/threads.h"
#include "layer.h"

namespace wavenet::cpu {

constexpr int64_t kSamplesAhead = 8;

enum class Draw { softmax, logistic, gaussian };

// Weights are contiguous floats, laid out as the fields of the same names in wavenet_kernels/sampling/network.py;
// biases may be absent.
struct SampleNetwork {
  int64_t codes = 0;  // rows of the input's table; 0: scalars
  int64_t taps, R, D, S, K, H, P;
  std::vector<int64_t> dilations;
  const float *input_weight, *input_bias, *conv_weight, *conv_bias, *out_weight, *out_bias;
  const float *hidden_weight, *hidden_bias, *output_weight, *output_bias;
  Draw draw;
  double first = 0;
  float residual_scale = 1, skip_scale = 1;
  bool input_tanh = false, has_floor = false;
  float scale_floor = 0;

  int64_t layers() const { return static_cast<int64_t>(dilations.size()); }
};

// What one call draws from, and where its results go.
struct SampleRun {
  int64_t n;
  Rows cond;                     // (B, n, L*2D) floats, channels side by side, or absent
  const void* forced = nullptr;  // (B, n) of what `out` holds: fed back instead
  const float* noise = nullptr;  // (B, 4, n) uniform numbers instead of the seed's
  uint64_t seed = 0, first_signal = 0;
  float temperature = 1;
  float* parameters = nullptr;  // (B, n, P), or absent
  void* out;                    // (B, n): int64 codes, or floats
};

class Sampler {
 public:
  // Weights are copied, in float or, if `half`, rounded to bfloat16 (biases and the input stay floats). Throws
  // std::bad_alloc.
  Sampler(const Isa& isa, const SampleNetwork& network, int64_t batch, bool half);

  void reset();

  // The next n samples of each signal. Returns -1, or the number of the sample whose parameters aren't finite. Throws
  // std::bad_alloc.
  int64_t run(const SampleRun& run, int threads);

  int64_t position() const { return t_; }

  // Inputs of the layers, as far back as is needed, and the last samples: doubles.
  int64_t state_size() const;
  void store_state(double* state) const;
  void load_state(const double* state, int64_t position);

 private:
  struct Matrix {
    const void* data = nullptr;  // in weights_
    int64_t outputs = 0, inputs = 0, panel = 0;  // outputs: padded to whole vectors
  };
  struct Stage {
    int64_t dilation = 0, history = 0;  // rows that are needed still
    int64_t length = 0;                 // of the ring: a power of two
    std::vector<Matrix> past;          // of each tap but the last
    Matrix current, residual;
    Memory conv_bias, out_bias;
    Memory ring;                // (B, length, R)
    std::vector<Memory> ahead;  // of each past tap (B, kSamplesAhead, 2D)
  };
  struct Range {
    int64_t begin, end;
  };
  // One of the threads, and what its products need.
  struct Worker {
    int index = 0, of = 1;
    Memory memory;
    const float** x;
    float** y;
    const float** terms;  // of a sum
  };

  int64_t packed_size(int64_t outputs, int64_t inputs) const;
  template <class Element>
  Matrix pack(int64_t outputs, int64_t inputs, int64_t rows, const Element& element);
  void add_workers(int count);  // up to so many
  Range share(const Worker& worker, int64_t channels) const;
  void product(Worker& worker, const Matrix& matrix, int64_t rows, std::initializer_list<Range> outputs);
  void embed(int64_t b);
  void past_taps(Worker& worker, Stage& stage, bool all);
  void layers(Worker& worker, Meeting& meeting, const SampleRun& run, int64_t i);
  void head(Worker& worker, Meeting& meeting);
  bool feed_back(const SampleRun& run, int64_t i);
  double draw(const float* said, const float* uniform, float temperature) const;
  int64_t component(const float* logits, int64_t count, float uniform, float temperature) const;
  float* row(const Stage& stage, int64_t b, int64_t t) const;
  int64_t padded(int64_t channels) const;
  int64_t lag(const Stage& stage, int64_t tap) const { return (net_.K - 1 - tap) * stage.dilation; }

  const SampleKernels& kernels_;
  SampleNetwork net_;
  int64_t B_, t_ = 0;
  bool half_;
  std::vector<Stage> stages_;
  Matrix skip_, hidden_, output_;
  Memory weights_;  // of all matrices, those of every sample first, in the order in which it reads them
  int64_t packed_ = 0;
  Memory input_weight_, input_bias_, skip_bias_, hidden_bias_, output_bias_;
  Memory a_, z_, skips_, hiddens_, said_;  // of each signal
  mutable std::vector<float> sums_;            // of probabilities
  std::vector<double> past_samples_;           // (B, taps), oldest first
  std::vector<Worker> workers_;
};

}  // namespace wavenet::cpu
