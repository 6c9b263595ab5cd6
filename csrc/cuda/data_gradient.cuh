// Backward, second part: the gradient of a layer's input from that of a. A convolution the other way round in time,
// on tiles (tile.cuh) of grad_a.
//
//   shared memory:  weights | grad_a, 1 or 2 buffers
#pragma once

#include "cuda/launch_tiles.h"
#include "cuda/layers.h"
#include "cuda/tile.cuh"

namespace wavenet::cuda {

template <class S>
__global__ void __launch_bounds__(kThreads, S::N == 128 ? 1 : 2)
    data_gradient_kernel(const DataGradientArguments args) {
  using T = typename S::T;
  const TileLaunch& on = args.on;
  const int a_row = 2 * on.D * int(sizeof(T)), a_pitch = a_row + 16, a_log = log2_of(a_row);
  const int a_bytes = (on.pad_above + S::M + on.pad_below) * a_pitch;
  char* const shared = shared_memory();
  char* const tiles = shared + Weights::shared_bytes(on.weight_bytes, S::N * kSlabBytes, on.ring);
  const Place<S> place;
  Weights weights(on.weights, on.weight_bytes, S::N * kSlabBytes, on.ring, shared);

  const auto fetch = [&](const Tile& tile, char* buffer) {
    load_rows<T>(buffer, a_pitch, on.tiling, tile, -on.pad_above, on.pad_above + S::M + on.pad_below, args.grad_a,
                 2 * on.D);
  };
  for_each_tile(on.tiling, on.buffers, tiles, a_bytes, fetch, [&](const Tile& tile, char* buffer) {
    const char* const a = buffer + on.pad_above * a_pitch;
    for (int r0 = 0; r0 < on.R; r0 += S::N) {
      Accumulators<S, S::kGroups> sums;
      clear<S, S::kGroups>(sums);
      const auto for_each_pair = [&](const Rows& rows, auto visit) {
#pragma unroll
        for (int f = 0; f < S::kRows; ++f) {
#pragma unroll
          for (int row = 0; row < 2; ++row) {
            const int64_t t = time_of(on.tiling, tile, place.row_of(f, 2 * row));
            if (t < 0) continue;
            T* const at = row_at<T>(rows, tile.b, t);
#pragma unroll
            for (int g = 0; g < S::kGroups; ++g) {
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                const int r = r0 + place.group(g) * 16 + half * 8 + place.column();
                if (r < on.R) visit(&sums[f][g][half][2 * row], at + r);
              }
            }
          }
        }
      };
      // The sums start with the residual's gradient, which is on its way during the product.
      if (args.grad_residual.data) {
        for_each_pair(args.grad_residual, [&](float* sum, const T* at) {
          const Floats<2> v = load<T, 2>(at);
          sum[0] = args.residual_scale * v.values[0], sum[1] = args.residual_scale * v.values[1];
        });
      }
      multiply<S, S::kGroups, false>(sums, place, weights, min(S::N, on.R - r0), a + place.fragment_offset(a_pitch),
                                     a_pitch, on.K * a_row, [&](int at) {
                                       const int shift = on.tap_first[0] + (at >> a_log) * on.tap_step[0];
                                       return shift * a_pitch + (at & (a_row - 1));
                                     });
      for_each_pair(args.grad_x, [](const float* sum, T* at) { store<T, 2>(at, Floats<2>{{sum[0], sum[1]}}); });
    }
  });
}

template <class T>
void run_data_gradient(const DataGradientArguments& arguments, const char* name, cudaStream_t stream) {
  with_shape<T>(arguments.on, name,
                [&](auto shape) { launch_tiles(data_gradient_kernel<decltype(shape)>, arguments, name, stream); });
}

}  // namespace wavenet::cuda
