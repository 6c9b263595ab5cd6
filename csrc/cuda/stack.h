// Residual stacks on a GPU, forward and backward: one call launches everything, on one stream. Each object is the
// plan for calls of one set of sizes on one device, and may be used by several threads. Where it runs that device is
// current; if it is here, it is where the plan is made, too, which loads kernels (load.h).
//
// A residual block is a stack of one layer. A gated convolution is one whose layer ends with z.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cuda/plan.h"
#include "cuda/weight_gradient.h"
#include "layer.h"

namespace wavenet::cuda {

// Inputs of both directions.
struct StackTensors {
  Rows x;                             // (B, T, R)
  const void* conv_weight = nullptr;  // (L, 2D, R, K)
  const void* conv_bias = nullptr;    // (L, 2D) or absent
  const void* out_weight = nullptr;   // (L, R+S, D); absent for a gated convolution
  const void* out_bias = nullptr;     // (L, R+S) or absent
  Rows cond;                          // (B, T, L*2D) or absent
  float residual_scale = 1;
};

struct ForwardOutputs {
  Rows saved;                // (B, T, R), the input of layer n * checkpoint_every, n from 1; absent: not kept
  int64_t saved_stride = 0;  // elements from one to the next
  int checkpoint_every = 1;
  Rows residual;  // (B, T, R) or absent
  Rows skip;      // (B, T, S) or absent
  Rows z;         // (B, T, D): of a gated convolution
};

class StackForward {
 public:
  // residual, skip: the last layer's residual and the skip sum are computed; keep: every layer's input is kept.
  StackForward(StackShape shape, bool residual, bool skip, bool keep, const Device& device);

  int64_t workspace_bytes() const { return packed_bytes_ + scratch_count_ * scratch_bytes(); }
  const std::vector<LaunchPlan>& launches() const { return launches_; }
  std::string describe() const;
  void run(const StackTensors& tensors, const ForwardOutputs& outputs, char* workspace, cudaStream_t stream) const;

 private:
  int64_t scratch_bytes() const { return (shape_.B * shape_.T * shape_.R * shape_.element() + 255) / 256 * 256; }

  StackShape shape_;
  bool residual_;
  int S_;  // skip channels that are computed
  std::vector<LaunchPlan> launches_;
  std::vector<PackedGroup> packed_;  // weights of each
  int64_t packed_bytes_ = 0, scratch_count_ = 0;
};

// Gradients; absent ones are not wanted.
struct Gradients {
  Rows residual, skip, z;  // given: of the outputs, or absent
  Rows saved;              // given: what forward kept of every layer but the first
  int64_t saved_stride = 0;
  Rows x;  // (B, T, R), also used on the way; there whether wanted or not
  bool want_x = true;
  void *conv_weight = nullptr, *conv_bias = nullptr, *out_weight = nullptr, *out_bias = nullptr;
  Rows cond;  // (B, T, L*2D), or with time_stride 0: the sum over T

  bool wants_weights() const { return conv_weight || conv_bias || out_weight || out_bias; }
};

class StackBackward {
 public:
  // residual, skip: there are gradients of these. fuse: one launch a layer where it can do all; it can't add up over
  // time what conditioning for all times gets.
  StackBackward(StackShape shape, bool residual, bool skip, bool fuse, const Device& device);

  int64_t workspace_bytes() const { return partial_offset_ + partial_bytes_; }
  void run(const StackTensors& tensors, const Gradients& gradients, char* workspace, cudaStream_t stream) const;

  std::vector<LaunchPlan> launches() const;  // in tiles, in their order: the last layer's first
  std::string describe() const;

 private:
  struct Layer {
    std::optional<LaunchPlan> fused;  // or else the others
    LaunchPlan gates, data;
    std::optional<LaunchPlan> weights;  // where they are of a wide layer
    int splits = 1;                     // of the rows, for the weights' gradients
  };
  WeightGradientArguments weight_gradient(int layer) const;

  StackShape shape_;
  bool residual_, skip_;
  std::vector<Layer> layers_;
  std::vector<PackedGroup> packed_gates_, packed_data_;  // weights of each layer
  int64_t grad_a_offset_ = 0, z_offset_ = 0, scratch_offset_ = 0, partial_offset_ = 0, partial_bytes_ = 0;
};

}  // namespace wavenet::cuda
