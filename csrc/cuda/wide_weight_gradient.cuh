// The gradients of a wide layer's weights and biases in 16 bits: the products of weight_gradient.cuh, of which a block
// does two or three that share a factor.
//
//   of the convolution:  grad_a^T of 128 channels at three taps, rows shifted   x  128 channels of x
//   of the 1x1s:         the outputs' gradients^T, twice 128 channels           x  128 channels of z
//
//          rows, a tile of 64 after the other (tile.cuh)        128 columns
//        +----------------------------------------+     +--------------------+
//   left | tile and halo, ldmatrix transposes it  |     | right: by slabs of |   the left ones' fragments come from
//        | to fragments of 16 channels for a warp |     | 64 swizzled        |   registers, sums stay there
//        +----------------------------------------+     +--------------------+
//
// Tiles of 64 rows go round a ring; sums go to the block's place among the partial ones (weight_gradient.h).
#pragma once

#include "cuda/launch.h"
#include "cuda/layout.h"
#include "cuda/outer.cuh"
#include "cuda/product.cuh"
#include "cuda/tile.cuh"
#include "cuda/vector.cuh"
#include "cuda/weight_gradient.cuh"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

// Of the steps through a tile: mma's fragments of b leave no registers for more.
#ifdef WAVENET_WARPGROUPS
constexpr int kWideUnroll = kWideRows * 2 / kStepBytes;
#else
constexpr int kWideUnroll = 1;
#endif

// Sums of a warp's 16 channels of the left factor and 128 of the right one.
using WideSums = float[kWideColumns / 16][2][4];

// sums[u] += left[u]^T right over 16 rows; what `right` begins with is row 0 of them, channel 0. By wgmma this only
// starts the products.
template <class T, int COUNT>
__device__ inline void start_rows(WideSums (&sums)[kWideTaps], const uint32_t (&left)[COUNT][4], const char* right,
                                     int lane) {
#ifdef WAVENET_WARPGROUPS
  const uint64_t descriptor = rows_descriptor(shared_address(right), kWideRows * kSlabBytes);
  warpgroup_arrive();
#pragma unroll
  for (int u = 0; u < COUNT; ++u) warpgroup_multiply_rows<T, kWideColumns>(&sums[u][0][0][0], left[u], descriptor);
  warpgroup_commit();
#else
  const int row = lane % 16;
#pragma unroll
  for (int g = 0; g < kWideColumns / 16; ++g) {
    const int unit = g * 2 + lane / 16;
    uint32_t b[4];
    load_matrices_transposed(b, right + wide_offset(row, unit));
#pragma unroll
    for (int u = 0; u < COUNT; ++u) {
      mma<T>(sums[u][g][0], left[u], b[0], b[1]);
      mma<T>(sums[u][g][1], left[u], b[2], b[3]);
    }
  }
#endif
}

// Where a thread's copies of rows of UNITS of 16 bytes begin: it has one unit of every kStride-th row.
template <int UNITS>
struct OfThread {
  static constexpr int kStride = kThreads / UNITS;
  int row = threadIdx.x / UNITS, unit = threadIdx.x % UNITS;
};

// Starts copying `count` rows, kWideRows and a halo, from tile row `first` on. The thread's unit begins at channel c
// and goes to `to` in its first row; zeros if it isn't `there`.
template <class T, int UNITS>
__device__ inline void load_factor(char* to, int pitch, const Tiling& tiling, const Tile& tile, int first, int count,
                                   const Rows& rows, int c, bool there) {
  constexpr int kStride = OfThread<UNITS>::kStride;
  static_assert(kWideRows % kStride == 0 && kStride % kWideMostPhases == 0);
  EvenUnits<kThreads> at(tiling, tile, first, UNITS);
  const T* from = row_at<const T>(rows, tile.b, at.first_time) + c;
  const int64_t further = at.jump * rows.time_stride;
  const auto copy = [&] {
    copy_async(to, from, there && at.in_clip());
    at.next(), from += further, to += kStride * pitch;
  };
#pragma unroll
  for (int i = 0; i < kWideRows / kStride; ++i) copy();
#pragma unroll 1
  while (at.row < count) copy();
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) wide_weight_gradient_kernel(const WideWeightGradientArguments args) {
  constexpr int e = sizeof(T), kUnit = 16 / e, kStepRows = kStepBytes / e;
  static_assert(e == 2);
  const TileLaunch& tiled = args.tiled;
  const WeightGradientArguments& weight = args.weight;
  const Tiling& tiling = tiled.tiling;
  const int outputs = weight.outputs(), residual = weight.residual_channels();

  // This block's products.
  const WideProducts products(weight);
  const bool conv = int(blockIdx.x) < products.of_conv();
  const int index = conv ? blockIdx.x : blockIdx.x - products.of_conv();
  const int across = conv ? products.conv_b : products.out_b, b0 = index % across * kWideColumns;
  const int b_width = conv ? weight.R : weight.D, a_width = conv ? 2 * weight.D : outputs;
  const int first_tap = conv ? index / across / products.conv_a * kWideTaps : 0;
  const int a0 = conv ? index / across % products.conv_a * kWideColumns : index / across * kWideOutputs * kWideColumns;
  const int count = conv ? min(kWideTaps, weight.K - first_tap)
                         : min(kWideOutputs, WideProducts::parts(outputs - a0, kWideColumns));

  char* const shared = shared_memory();
  const WideWeightGradientLayout layout(tiled);
  const int a_pitch = conv ? layout.conv_pitch : layout.out_pitch;
  const auto load = [&](const Tile& tile, char* stage) {
    constexpr int kUnits = kWideColumns / kUnit;
    const OfThread<kUnits> one;
    const OfThread<kWideOutputs * kUnits> both;
    if (conv) {
      const int c = a0 + one.unit * kUnit;
      load_factor<T, kUnits>(stage + one.row * a_pitch + one.unit * 16, a_pitch, tiling, tile, -tiled.pad_above,
                             tiled.rows(kWideRows), weight.grad_a, c, c < a_width);
    } else {
      const int c = a0 + both.unit * kUnit;
      const bool of_residual = c < residual;
      load_factor<T, kWideOutputs * kUnits>(stage + both.row * a_pitch + both.unit * 16, a_pitch, tiling, tile, 0,
                                            kWideRows, of_residual ? weight.grad_residual : weight.grad_skip,
                                            of_residual ? c : c - residual, c < outputs);
    }
    const int c = b0 + one.unit * kUnit;
    load_factor<T, kUnits>(stage + layout.left_bytes + wide_offset(one.row, one.unit), kSlabBytes, tiling, tile, 0,
                           kWideRows, conv ? weight.x : weight.z, c, c < b_width);
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  WideSums sums[kWideTaps] = {};
  float bias_sums[kWideOutputs][4] = {};
  const int64_t tiles = tiling.tiles;
  const int first = static_cast<int>(tiles * blockIdx.y / gridDim.y);
  const int last = static_cast<int>(tiles * (blockIdx.y + 1) / gridDim.y);
  Tile tile = tile_at(tiling, first);  // the next to load
  int here = 0;                        // the stage in use
  const auto load_next = [&](int index, int to) {
    if (index < last) {
      load(tile, shared + to);
      tile = tile_after(tiling, tile);
    }
    copy_async_commit();
  };
  // Of the left factors: where the first is, from there to the next one, and which have biases to sum.
  const int first_shift = tiled.tap_first[0] + first_tap * tiled.tap_step[0];
  const int left0 = warp * 16 * e + (conv ? (tiled.pad_above + first_shift) * a_pitch : 0);
  const int next_left = conv ? tiled.tap_step[0] * a_pitch : kWideColumns * e;
  const auto has_bias = [&](int u) { return b0 == 0 && (!conv || first_shift + u * tiled.tap_step[0] == 0); };

  // COUNT: left factors. Of three taps one has biases.
  const auto walk = [&](auto of) {
    constexpr int COUNT = decltype(of)::value;
    const auto bias_of = [&](int u) { return COUNT == kWideTaps ? 0 : u; };
    for (int i = 0; i < kStages - 1; ++i) load_next(first + i, i * layout.stage_bytes);
    for (int done = first; done < last; ++done) {
      copy_async_wait<kStages - 2>();
      show_to_warpgroups();
      __syncthreads();  // the tile is here for everybody, and everybody is done with the one before
#pragma unroll kWideUnroll
      for (int row = 0; row < kWideRows; row += kStepRows) {
        uint32_t left[COUNT][4];
#pragma unroll
        for (int u = 0; u < COUNT; ++u) {
          load_left<T>(left[u], shared + here + left0 + u * next_left + row * a_pitch, a_pitch, lane);
          if (has_bias(u)) add_rows<T>(bias_sums[bias_of(u)], left[u]);
        }
        start_rows<T, COUNT>(sums, left, shared + here + layout.left_bytes + row * kSlabBytes, lane);
        // The next tile's copies, to where the one before was, start during the first products.
        if (row == 0) load_next(done + kStages - 1, (here == 0 ? layout.end : here) - layout.stage_bytes);
#ifdef WAVENET_WARPGROUPS
        warpgroup_wait();
#endif
      }
      here = here + layout.stage_bytes == layout.end ? 0 : here + layout.stage_bytes;
    }  // no copy is on its way: the last groups are empty
    float* const partial = weight.partial + blockIdx.y * weight.partial_size();
    float* const bias = partial + weight.conv_size() + weight.out_size() + (conv ? 0 : 2 * weight.D);
#pragma unroll
    for (int u = 0; u < COUNT; ++u) {
      float* const weights =
          partial + (conv ? int64_t(first_tap + u) * 2 * weight.D * weight.R : weight.conv_size());
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const int r = a0 + (conv ? 0 : u * kWideColumns) + warp * 16 + lane / 4 + row * 8;
        if (r >= a_width) continue;
        if (has_bias(u) && lane % 4 == 0) bias[r] = bias_sums[bias_of(u)][2 * row];
#pragma unroll
        for (int g = 0; g < kWideColumns / 16; ++g) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int c = b0 + g * 16 + half * 8 + lane % 4 * 2;
            if (c >= b_width) continue;
            const float* const v = &sums[u][g][half][2 * row];
            store<float, 2>(weights + int64_t(r) * b_width + c, Floats<2>{{v[0], v[1]}});
          }
        }
      }
    }
  };
  if (count == 1) return walk(std::integral_constant<int, 1>{});
  if (count == 2) return walk(std::integral_constant<int, 2>{});
  walk(std::integral_constant<int, 3>{});
}

template <class T>
void load_wide_weight_gradient() {
  load_kernel("weight_gradient", wide_weight_gradient_kernel<T>);
}

template <class T>
void run_wide_weight_gradient(const WideWeightGradientArguments& args, const char* name, cudaStream_t stream) {
  const int products = WideProducts(args.weight).count();
  launch(name, wide_weight_gradient_kernel<T>, dim3(products, args.weight.splits), dim3(kThreads),
         args.tiled.shared_bytes, stream, args);
}

}  // namespace wavenet::cuda
