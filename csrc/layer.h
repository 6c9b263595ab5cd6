// The one structure that every kernel takes, on CPUs and GPUs: sizes, strides and pointers of a residual
// layer. It knows nothing of torch; whoever fills it has checked sizes, types and devices already.
//
//   a = sum_k W_k x[t - left + k d] + b + c[t]     z = tanh(a_filter) * sigmoid(a_gate)     o = V z + v
//   residual = s (x + o_residual)                  skip (+)= o_skip
//
// B batch, T time, R residual channels, D dilation channels (of filter and of gate), S skip channels,
// K taps, d dilation. 2D-channel tensors: filter half first. (R+S)-channel tensors: residual part first.
// The smaller operators are parts of it: a convolution ends with a, a gate goes from a to z, a gated
// convolution ends with z.
#pragma once

#include <cstdint>

namespace wavenet {

enum class DType : int32_t { float32, bfloat16, float16, float64 };

// A (B, T, C) tensor; strides count elements and may be anything, 0 included (conditioning that holds for a
// whole clip has time_stride 0). Channels are contiguous but where a field says otherwise. No data: the tensor is
// absent.
struct Rows {
  void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t time_stride = 0;
  int64_t channel_stride = 1;
};

struct Layer {
  DType dtype = DType::float32;  // of every tensor here; on CPUs of the activations, and weights are Reals
  int64_t B = 0, T = 0, R = 0, D = 0, S = 0, K = 1;
  int64_t C = 0;  // channels of the convolution: 2D where a gate follows, else any number
  int64_t dilation = 1;
  int64_t left = 0;  // rows of zeros before row 0: (K-1) d when causal, (K-1) d / 2 when "same"
  double residual_scale = 1;
  bool fast = true;  // convolutions may use algorithms that need fewer multiplications (on CPUs)
  bool accumulate_skip = false;  // add to skip rather than overwrite it

  int64_t past = 0;  // rows of x that exist before row 0: 0, but for a stream

  Rows x;                             // (B, T, R)
  const void* conv_weight = nullptr;  // (C, R, K), contiguous like all weights
  const void* conv_bias = nullptr;    // (C) or absent
  Rows cond;                          // (B, T, 2D) or absent; on CPUs, but for streams, in any memory order
  const void* out_weight = nullptr;   // (R+S, D)
  const void* out_bias = nullptr;     // (R+S) or absent

  Rows a;         // (B, T, C), in memory only for a bare convolution (output) or a bare gate (input, on CPUs with any
                  // channel stride); on CPUs also of a block whose backward is not to compute it again: Reals, with
                  // the conditioning added
  Rows z;         // (B, T, D), in memory only where the operator ends with it
  Rows residual;  // (B, T, R); absent: not computed
  Rows skip;      // (B, T, S); absent: not computed
};

}  // namespace wavenet
