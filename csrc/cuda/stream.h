// A causal residual stack that is fed chunk by chunk, on a GPU: one launch a chunk, a block for each clip.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/plan.h"
#include "layer.h"

namespace wavenet::cuda {

constexpr int kMostStreamLayers = 128;  // the launch's parameters hold their dilations

struct StreamArguments {
  DType dtype = DType::float32;
  int R = 0, D = 0, S = 0, K = 0, N = 0;  // N: outputs of a slab
  int layers = 0;
  int64_t dilations[kMostStreamLayers] = {};
  const char* weights = nullptr;  // packed: of every layer convolution, residual 1x1, skip 1x1; slabs of N rows
  int weight_bytes = 0;
  size_t shared_bytes = 0;
  const void* conv_bias = nullptr;  // (L, 2D) or absent
  const void* out_bias = nullptr;   // (L, R+S) or absent
  float residual_scale = 1;

  int64_t B = 0, T = 0;  // of this chunk
  Rows x, cond, residual, skip;
  // (B, H, R) with H = sum of (K-1) d: of each layer a ring of its last inputs, time t in row t modulo (K-1) d.
  void* state = nullptr;
  int64_t state_rows = 0;        // H
  int64_t* positions = nullptr;  // (B): times fed so far; the launch adds T
};

template <class T>
void load_stream();
template <class T>
void run_stream(const StreamArguments& arguments, const char* name, cudaStream_t stream);

class StackStream {
 public:
  // Of the shape, B and T don't matter. Throws std::invalid_argument as StackForward does.
  StackStream(const StackShape& shape, const Device& device);

  int64_t weight_bytes() const { return plan_.weight_bytes; }
  LaunchPlan launch() const;  // of the shape's B clips
  void pack_weights(const void* conv_weight, const void* out_weight, char* to, cudaStream_t stream) const;
  // `chunk` brings what changes from call to call, and where the weights are.
  void step(StreamArguments chunk, cudaStream_t stream) const;

 private:
  StackShape shape_;
  StreamArguments plan_;
};

}  // namespace wavenet::cuda
