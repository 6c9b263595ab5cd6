// What a classifier's file says, checked: sizes, and weights where they lie in it. Names are those of
// wavenet.classifier.model (WaveNetConfig, state_dict), where shapes are explained.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/weights.h"

namespace wavenet::runtime {

enum class Input { raw, mu_law, one_hot };
enum class PoolingKind { mean, max, attention };

constexpr int64_t kCodes = 256;  // of mu-law

// A stem of band filters (filterbank.h). No `count`: the stem is a plain convolution.
struct Bands {
  int64_t count = 0, stride = 0;  // samples between outputs of the filters
  Weights filters;                // (2 count, taps): cosines, then sines
  const float *gain = nullptr, *offset = nullptr;
  float floor = 0;  // energy that is silence
  int64_t blocks = 0;           // residual ones after each layer that halves
  std::vector<Weights> layers;  // a block's two among them; channels: of 3 bands, each of 3 times, side by side
  Weights mix;                  // channels: of every band

  size_t of_group() const { return 1 + 2 * static_cast<size_t>(blocks); }
};

inline int64_t halved(int64_t bands) { return (bands + 1) / 2; }

// The residual layers of any network.
struct Layers {
  explicit Layers(const File& file);  // throws BadFile

  int64_t R, D, S, K;
  std::vector<int64_t> dilations;
  double residual_scale;
  Weights conv, out;  // of every layer; both in int8 or neither
};

class Network : public Layers {
 public:
  explicit Network(const File& file);  // throws BadFile

  double sample_rate;
  std::vector<std::string> labels;

  Input input;
  bool clip_norm;
  double level = 0, silence = 0, flat_variance = 0;  // of clip_norm

  Weights stem;  // its channels are the taps; of one-hot codes the weight is (taps, codes, R)
  Bands bands;
  int64_t stem_taps, stride;

  int64_t frame_steps;
  std::vector<Weights> head;
  PoolingKind pooling;
  Weights score;  // of attention
  Weights classifier;

  int64_t frame_samples() const { return frame_steps * stride; }
  int64_t pooled_channels() const { return classifier.channels; }
  int64_t window_stride() const { return bands.count ? bands.stride : stride; }  // of what the stem convolves
  int64_t windows_per_step() const { return stride / window_stride(); }
  int64_t lookahead() const;  // frames beyond a window that a decision about it waits for

 private:
  void read_stem(const File& file);
  void read_bands(const File& file);
};

}  // namespace wavenet::runtime
