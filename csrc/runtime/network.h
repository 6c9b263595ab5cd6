// What a classifier's file says, checked: sizes, and weights where they lie in it. Names are those of
// wavenet.classifier.model (WaveNetConfig, state_dict), where shapes are explained.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/file.h"

namespace wavenet::runtime {

enum class Input { raw, mu_law, one_hot };
enum class PoolingKind { mean, max, attention };

constexpr int64_t kCodes = 256;  // of mu-law

// A convolution's weight (outputs, channels, taps), and its bias or none.
struct Weights {
  const float *weight = nullptr, *bias = nullptr;
  int64_t outputs = 0, channels = 0, taps = 1;
};

struct Network {
  explicit Network(const File& file);  // throws BadFile

  double sample_rate;
  std::vector<std::string> labels;

  Input input;
  bool clip_norm;
  double level = 0, silence = 0, flat_variance = 0;  // of clip_norm

  Weights stem;  // its channels are the taps; of one-hot codes the weight is (taps, codes, R)
  int64_t stem_taps, stride;

  int64_t R, D, S, K;
  std::vector<int64_t> dilations;
  double residual_scale;
  const float *conv_weight, *conv_bias, *out_weight, *out_bias;

  int64_t frame_steps;
  std::vector<Weights> head;
  PoolingKind pooling;
  Weights score;  // of attention
  Weights classifier;

  int64_t frame_samples() const { return frame_steps * stride; }
  int64_t pooled_channels() const { return classifier.channels; }
  int64_t lookahead() const;  // frames beyond a window that a decision about it waits for
};

}  // namespace wavenet::runtime
