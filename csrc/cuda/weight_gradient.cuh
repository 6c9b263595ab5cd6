// Backward, third part: the gradients of a layer's weights and biases, products over all rows.
//
//   of the convolution, tap k:  grad_a^T x[. - left + k d]     of the 1x1s:  [grad_residual grad_skip]^T z
//   of a bias: the same with ones for the second factor
//
// A block owns a tile of one of the products (A x B of its two factors' channels) and a share of the rows, which go
// through a ring in shared memory in steps of kDepth. Sums stay in registers and go to the block's own place among
// the partial sums; sum_partials() adds the shares in a fixed order, so that results don't depend on timing.
#pragma once

#include <type_traits>

#include "cuda/launch.h"
#include "cuda/layout.h"
#include "cuda/outer.cuh"
#include "cuda/product.cuh"
#include "cuda/tile.cuh"
#include "cuda/vector.cuh"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

template <class T_, int A_, int B_>
struct Outer {
  using T = T_;
  static constexpr int A = A_, B = B_;
  static constexpr WeightGradientLayout kLayout{{A, B}, sizeof(T)};
  static constexpr int kDepth = kLayout.depth, kSteps = kDepth * sizeof(T) / kStepBytes;
  static constexpr int kPitchA = kLayout.a_pitch, kPitchB = kLayout.b_pitch, kStageBytes = kLayout.stage_bytes;
  static constexpr int kRowWarps = 4, kColumnWarps = 2;
  static constexpr int kRows = A / 16 / kRowWarps, kGroups = B / 16 / kColumnWarps;  // of a warp, 16 channels each
};

// sums[0] and sums[2] += a left fragment's rows lane / 4 and lane / 4 + 8: of all its columns in 16 bits, where ones
// do it; in 32 bits, which mma would round, of those that this lane holds.
template <class T>
__device__ inline void add_rows(float (&sums)[4], const uint32_t (&fragment)[4]) {
  if constexpr (sizeof(T) == 2) {
    constexpr uint32_t kOnes = std::is_same_v<T, __half> ? 0x3c003c00u : 0x3f803f80u;
    mma<T>(sums, fragment, kOnes, kOnes);
  } else {
    sums[0] += __uint_as_float(fragment[0]) + __uint_as_float(fragment[2]);
    sums[2] += __uint_as_float(fragment[1]) + __uint_as_float(fragment[3]);
  }
}

// The four lanes of a row have its sum.
template <class T>
__device__ inline void finish_rows(float (&sums)[4]) {
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2) {
      sums[0] += __shfl_xor_sync(0xffffffffu, sums[0], lanes);
      sums[2] += __shfl_xor_sync(0xffffffffu, sums[2], lanes);
    }
  }
}

template <class O>
__global__ void __launch_bounds__(kThreads, kResidentWeightGradient)
    weight_gradient_kernel(const WeightGradientArguments args) {
  using T = typename O::T;
  constexpr int e = sizeof(T), kUnit = 16 / e;
  const int outputs = args.outputs();
  const int conv_a = (2 * args.D + O::A - 1) / O::A, conv_b = (args.R + O::B - 1) / O::B;
  const int of_conv = args.K * conv_a * conv_b, out_b = (args.D + O::B - 1) / O::B;

  // This block's tile.
  const bool conv = int(blockIdx.x) < of_conv;
  const int index = conv ? blockIdx.x : blockIdx.x - of_conv, columns = conv ? conv_b : out_b;
  const int tap = conv ? index / (conv_a * conv_b) : 0;
  const int a0 = index / columns % (conv ? conv_a : 1 << 30) * O::A, b0 = index % columns * O::B;
  const int a_width = conv ? 2 * args.D : outputs, b_width = conv ? args.R : args.D;
  const bool bias = b0 == 0 && tap == 0;
  const int64_t shift = conv ? tap * args.dilation - args.left : 0;
  const Rows& b_rows = conv ? args.x : args.z;

  char* const shared = shared_memory();
  // Chunks of kDepth rows, of which no memory holds 2^31. Where the next one to load is, and where it goes.
  const int per_clip = static_cast<int>((args.T + O::kDepth - 1) / O::kDepth);
  const int64_t chunks = args.B * per_clip, first = chunks * blockIdx.y / gridDim.y;
  const int count = static_cast<int>(chunks * (blockIdx.y + 1) / gridDim.y - first);
  int to_load = count, clip = static_cast<int>(first / per_clip);
  int64_t t0 = (first - int64_t(clip) * per_clip) * O::kDepth;
  char* stage = shared;
  const auto after = [&](auto* stage) {
    return stage + O::kStageBytes == shared + kStages * O::kStageBytes ? shared : stage + O::kStageBytes;
  };
  const auto load = [&] {
    if (to_load-- > 0) {
      // An access or two of a thread: unrolled, they take the registers of a second block.
#pragma unroll 1
      for (int i = threadIdx.x; i < O::kDepth * (O::A / kUnit); i += kThreads) {
        const int row = i / (O::A / kUnit), unit = i % (O::A / kUnit);
        int c = a0 + unit * kUnit;
        const bool valid = t0 + row < args.T && c < a_width;
        const Rows* from = &args.grad_a;
        if (!conv) {
          from = c < args.residual_channels() ? &args.grad_residual : &args.grad_skip;
          if (c >= args.residual_channels()) c -= args.residual_channels();
        }
        const T* source = static_cast<const T*>(b_rows.data);
        if (valid) source = row_at<const T>(*from, clip, t0 + row) + c;
        copy_async(stage + row * O::kPitchA + unit * 16, source, valid);
      }
#pragma unroll 1
      for (int i = threadIdx.x; i < O::kDepth * (O::B / kUnit); i += kThreads) {
        const int row = i / (O::B / kUnit), unit = i % (O::B / kUnit);
        const int64_t t = t0 + row + shift;
        const int c = b0 + unit * kUnit;
        const bool valid = t0 + row < args.T && t >= 0 && t < args.T && c < b_width;
        const T* source = static_cast<const T*>(b_rows.data);
        if (valid) source = row_at<const T>(b_rows, clip, t) + c;
        copy_async(stage + O::kDepth * O::kPitchA + row * O::kPitchB + unit * 16, source, valid);
      }
      stage = after(stage);
      t0 += O::kDepth;
      if (t0 >= args.T) ++clip, t0 = 0;
    }
    copy_async_commit();
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row0 = warp / O::kColumnWarps * 16 * O::kRows, column0 = warp % O::kColumnWarps * 16 * O::kGroups;
  float sums[O::kRows][O::kGroups][2][4] = {}, bias_sums[O::kRows][4] = {};
  for (int i = 0; i < kStages - 1; ++i) load();
  const char* here = shared;
  for (int done = 0; done < count; ++done) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // the chunk is here for everybody, and everybody is done with the one before
    load();
    const char* const a_tile = here + row0 * e;
    const char* const b_tile = a_tile + O::kDepth * O::kPitchA + (column0 - row0) * e;
#pragma unroll
    for (int step = 0; step < O::kSteps; ++step) {
      constexpr int kRowsOfStep = kStepBytes / e;
      uint32_t a[O::kRows][4];
#pragma unroll
      for (int f = 0; f < O::kRows; ++f) {
        load_left<T>(a[f], a_tile + step * kRowsOfStep * O::kPitchA + f * 16 * e, O::kPitchA, lane);
        if (bias) add_rows<T>(bias_sums[f], a[f]);
        round_fragment<T>(a[f]);
      }
#pragma unroll
      for (int g = 0; g < O::kGroups; ++g) {
        uint32_t b[4];
        load_right<T>(b, b_tile + step * kRowsOfStep * O::kPitchB + g * 16 * e, O::kPitchB, lane);
        round_fragment<T>(b);
#pragma unroll
        for (int f = 0; f < O::kRows; ++f) {
          mma<T>(sums[f][g][0], a[f], b[0], b[1]);
          mma<T>(sums[f][g][1], a[f], b[2], b[3]);
        }
      }
    }
    here = after(here);
  }  // no copy is on its way: the last groups are empty

  float* const partial = args.partial + blockIdx.y * args.partial_size();
  float* const weights = partial + (conv ? int64_t(tap) * 2 * args.D * args.R : args.conv_size());
  float* const biases = partial + args.conv_size() + args.out_size() + (conv ? 0 : 2 * args.D);
#pragma unroll
  for (int f = 0; f < O::kRows; ++f) {
    finish_rows<T>(bias_sums[f]);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int r = a0 + row0 + f * 16 + lane / 4 + row * 8;
      if (r >= a_width) continue;
      if (bias && column0 == 0 && lane % 4 == 0) biases[r] = bias_sums[f][2 * row];
#pragma unroll
      for (int g = 0; g < O::kGroups; ++g) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int c = b0 + column0 + g * 16 + half * 8 + lane % 4 * 2;
          if (c >= b_width) continue;
          const float* const v = &sums[f][g][half][2 * row];
          store<float, 2>(weights + int64_t(r) * b_width + c, Floats<2>{{v[0], v[1]}});
        }
      }
    }
  }
}

template <class O>
void launch_outer(const WeightGradientArguments& args, const char* name, cudaStream_t stream) {
  launch(name, weight_gradient_kernel<O>, dim3(args.tiles(O::A, O::B), args.splits), dim3(kThreads), O::kLayout.end,
         stream, args);
}

template <class T, int I>
using OuterOf = Outer<T, kOuterSizes[I].A, kOuterSizes[I].B>;

template <class T>
void load_weight_gradient() {
  load_kernel("weight_gradient", weight_gradient_kernel<OuterOf<T, 0>>);
  load_kernel("weight_gradient", weight_gradient_kernel<OuterOf<T, 1>>);
  load_kernel("weight_gradient", weight_gradient_kernel<OuterOf<T, 2>>);
}

template <class T>
void run_weight_gradient(const WeightGradientArguments& args, const char* name, cudaStream_t stream) {
  const int index = outer_index(args.R, args.D);
  if (index == 0) return launch_outer<OuterOf<T, 0>>(args, name, stream);
  if (index == 1) return launch_outer<OuterOf<T, 1>>(args, name, stream);
  launch_outer<OuterOf<T, 2>>(args, name, stream);
}

}  // namespace wavenet::cuda
