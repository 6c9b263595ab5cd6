// Launches on tiles of rows (tile.cuh), by the arguments that the plan (plan.h) made. Each is compiled for T float
// (products in TF32), __nv_bfloat16 and __half, in files of their own, and loaded (load.h) before it is run.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/tile_launch.h"
#include "cuda/weight_gradient.h"
#include "layer.h"

namespace wavenet::cuda {

// Consecutive layers of a stack.
struct LayersArguments {
  TileLaunch tiled;
  int layers = 1;
  Rows x;                           // (B, T, R)
  const void* conv_bias = nullptr;  // (layers, 2D) or absent
  const void* out_bias = nullptr;   // (layers, R+S) or absent
  int out_channels = 0;             // R+S, whatever of it is computed
  Rows cond;                        // (B, T, layers * 2D) or absent
  bool residual = true;             // the last layer's is computed
  Rows output[kMostLayers];         // (B, T, R) after each layer, or absent: not kept
  Rows skip;                        // (B, T, S)
  bool accumulate_skip = false;
  Rows z;  // (B, T, D): the gated convolution alone, of one layer
  float residual_scale = 1;
};
template <class T>
void load_layers();
template <class T>
void run_layers(const LayersArguments& arguments, const char* name, cudaStream_t stream);

// ga, the gradient of what the gate is of, and z again, from a layer's input and the gradients of its outputs.
struct GateGradientArguments {
  TileLaunch tiled;
  Rows x;
  const void* conv_bias = nullptr;
  Rows cond;
  Rows grad_residual, grad_skip;  // (B, T, R), (B, T, S) or absent
  Rows grad_z;                    // (B, T, D): of a gated convolution alone, instead of those two
  Rows grad_a;                    // (B, T, 2D)
  Rows z;                         // (B, T, D) or absent
};
template <class T>
void load_gate_gradient();
template <class T>
void run_gate_gradient(const GateGradientArguments& arguments, const char* name, cudaStream_t stream);

// grad_x = residual_scale grad_residual + the convolution's gradient
struct DataGradientArguments {
  TileLaunch tiled;
  Rows grad_a;
  Rows grad_residual;  // or absent
  Rows grad_x;
  float residual_scale = 1;
};
template <class T>
void load_data_gradient();
template <class T>
void run_data_gradient(const DataGradientArguments& arguments, const char* name, cudaStream_t stream);

// All of a narrow layer's backward in one launch, in 16 bits.
struct FusedBackwardArguments {
  TileLaunch tiled;  // its weights are the gate gradient's, then the data gradient's
  int tiles = 1;  // of 32 x 32 weights, of a warp: 1, 2 or 4
  const void* conv_bias = nullptr;
  Rows cond;
  WeightGradientArguments weight;  // its grad_a and z don't exist; a share of the rows is what a block does
  Rows grad_x;                     // or absent; not weight.grad_residual, whose halos other tiles still read
  Rows grad_cond;                  // (B, T, 2D) or absent: grad_a
};
template <class T>
void load_fused_backward();
template <class T>
void run_fused_backward(const FusedBackwardArguments& arguments, const char* name, cudaStream_t stream);

}  // namespace wavenet::cuda
