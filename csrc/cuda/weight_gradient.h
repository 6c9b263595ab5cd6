// The gradients of a layer's weights (weight_gradient.cuh).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/both.h"
#include "cuda/tile_launch.h"
#include "layer.h"

namespace wavenet::cuda {

// Of a block's tile: channels of its two factors.
struct OuterSize {
  int A, B;
};
// Those that there are, the narrowest first.
constexpr OuterSize kOuterSizes[] = {{64, 32}, {128, 64}, {128, 128}};

// Which of them serves such channels.
inline int outer_index(int R, int D) {
  const int most = R > D ? R : D;
  return most <= kOuterSizes[0].B ? 0 : most <= kOuterSizes[1].B ? 1 : 2;
}

struct WeightGradientArguments {
  DType dtype = DType::float32;
  int64_t B = 0, T = 0, dilation = 1, left = 0;
  int R = 0, D = 0, S = 0, K = 0;
  Rows x, grad_a;
  Rows z, grad_residual, grad_skip;  // the last two, or either, may be absent; all are for a gated convolution
  float residual_scale = 1;

  float* partial = nullptr;  // splits x partial_size()
  int splits = 1;

  // Gradients in the layouts of the weights, absent where not wanted. Those of the 1x1s have out_channels rows, the
  // residual's first: zeros where there is no gradient.
  void *conv_weight = nullptr, *conv_bias = nullptr, *out_weight = nullptr, *out_bias = nullptr;
  int out_channels = 0;

  WAVENET_BOTH int residual_channels() const { return grad_residual.data ? R : 0; }
  WAVENET_BOTH int outputs() const { return residual_channels() + (grad_skip.data ? S : 0); }
  // Partial sums: (K, 2D, R), (outputs, D), (2D), (outputs).
  WAVENET_BOTH int64_t conv_size() const { return int64_t(K) * 2 * D * R; }
  WAVENET_BOTH int64_t out_size() const { return int64_t(outputs()) * D; }
  WAVENET_BOTH int64_t partial_size() const { return conv_size() + out_size() + 2 * D + outputs(); }

  // Of all products.
  int tiles(int A, int B) const {
    const auto of = [&](int a, int b) { return (a + A - 1) / A * ((b + B - 1) / B); };
    return K * of(2 * D, R) + of(outputs(), D);
  }
};

// Of wide layers in 16 bits, a kernel of its own (wide_weight_gradient.cuh).
constexpr int kWideRows = 64;       // of a tile
constexpr int kWideMostPhases = 8;  // that they lie on: all that a thread copies is then of one phase
constexpr int kWideColumns = 128;   // channels of each factor of a product
// Products of a block, which have the right factor in common: of taps, and of 128 outputs' gradients.
constexpr int kWideTaps = 3, kWideOutputs = 2;

struct WideWeightGradientArguments {
  WeightGradientArguments weight;
  TileLaunch tiled;  // of x and grad_a
};

// Blocks' products: of the convolution's weights conv_a x conv_b for each group of taps, of the 1x1s' out_a x out_b.
struct WideProducts {
  int taps, conv_a, conv_b, out_a, out_b;

  WAVENET_BOTH explicit WideProducts(const WeightGradientArguments& args)
      : taps(parts(args.K, kWideTaps)),
        conv_a(parts(2 * args.D, kWideColumns)),
        conv_b(parts(args.R, kWideColumns)),
        out_a(parts(args.outputs(), kWideOutputs * kWideColumns)),
        out_b(parts(args.D, kWideColumns)) {}
  WAVENET_BOTH int of_conv() const { return taps * conv_a * conv_b; }
  WAVENET_BOTH int count() const { return of_conv() + out_a * out_b; }
  WAVENET_BOTH static constexpr int parts(int whole, int part) { return (whole + part - 1) / part; }
};

// Where a right factor's row and unit of 16 bytes lie: 64 channels after 64, swizzled as wgmma wants it.
WAVENET_BOTH constexpr int wide_offset(int row, int unit) {
  return unit / 8 * (kWideRows * kSlabBytes) + row * kSlabBytes + ((unit % 8) ^ (row % 8)) * 16;
}

template <class T>
void load_wide_weight_gradient();
template <class T>
void run_wide_weight_gradient(const WideWeightGradientArguments& arguments, const char* name, cudaStream_t stream);

template <class T>
void load_weight_gradient();
template <class T>
void run_weight_gradient(const WeightGradientArguments& arguments, const char* name, cudaStream_t stream);

// Loads the two kernels below.
template <class T>
void load_sums();

// Adds the shares and writes the gradients.
void sum_partials(const WeightGradientArguments& arguments, const char* name, cudaStream_t stream);

// sums (B, C) = the sum of rows (B, T, C) over T: the gradient of conditioning that holds for all times.
void sum_over_time(DType dtype, int64_t B, int64_t T, int64_t C, const Rows& rows, const Rows& sums, const char* name,
                   cudaStream_t stream);

}  // namespace wavenet::cuda
