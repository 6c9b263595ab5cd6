// Backward, second part: the gradient of a layer's input from that of a. A convolution the other way round in time,
// on tiles (tile.cuh) of grad_a.
#pragma once

#include "cuda/launch_tiles.h"
#include "cuda/layers.h"
#include "cuda/layout.h"
#include "cuda/tile.cuh"

namespace wavenet::cuda {

template <class S>
__global__ void __launch_bounds__(kThreads, resident_data_gradient(S::N))
    data_gradient_kernel(const DataGradientArguments args) {
  using T = typename S::T;
  const TileLaunch& tiled = args.tiled;
  char* const shared = shared_memory();
  const DataGradientLayout<char*> layout(shared, S::tile(), sizeof(T), tiled);
  const int a_row = layout.a.row, a_pitch = layout.a.pitch, a_log = log2_of(a_row);
  const Place<S> place;
  Weights weights(tiled.weights, tiled.weight_bytes, S::N, tiled.ring, shared);

  const auto fetch = [&](const Tile& tile, char* buffer) {
    load_rows<T>(buffer, a_pitch, tiled.tiling, tile, -tiled.pad_above, tiled.rows(S::M), args.grad_a, 2 * tiled.D);
  };
  for_each_tile(tiled.tiling, tiled.buffers, layout.a_at, layout.a.bytes(), fetch, [&](const Tile& tile, char* buffer) {
    const char* const a = buffer + tiled.pad_above * a_pitch;
    for (int r0 = 0; r0 < tiled.R; r0 += S::N) {
      Accumulators<S, S::kGroups> sums;
      clear<S, S::kGroups>(sums);
      const int left = tiled.R - r0 - place.first_output();
      const auto for_each_pair = [&](const Rows& rows, auto visit) {
#pragma unroll
        for (int f = 0; f < S::kRows; ++f) {
#pragma unroll
          for (int row = 0; row < 2; ++row) {
            const int t = time_of(tiled.tiling, tile, place.row_of(f, 2 * row));
            if (t < 0) continue;
            T* const at = row_at<T>(rows, tile.b, t) + r0 + place.first_output();
#pragma unroll
            for (int g = 0; g < S::kGroups; ++g) {
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                const int further = S::outputs_to(g, half);
                if (further < left) visit(&sums[f][g][half][2 * row], at + further);
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
      multiply<S, S::kGroups, false>(sums, place, weights, min(S::N, tiled.R - r0), a + place.fragment_offset(a_pitch),
                                     a_pitch, tiled.K * a_row, [&](int at) {
                                       const int shift = tiled.tap_first[0] + (at >> a_log) * tiled.tap_step[0];
                                       return shift * a_pitch + (at & (a_row - 1));
                                     });
      for_each_pair(args.grad_x, [](const float* sum, T* at) { store<T, 2>(at, Floats<2>{{sum[0], sum[1]}}); });
    }
  });
}

template <class T>
void load_data_gradient() {
  load_shapes<T>("data_gradient", [](auto shape) { return data_gradient_kernel<decltype(shape)>; });
}

template <class T>
void run_data_gradient(const DataGradientArguments& arguments, const char* name, cudaStream_t stream) {
  with_shape<T>(arguments.tiled, name,
                [&](auto shape) { launch_tiles(data_gradient_kernel<decltype(shape)>, arguments, name, stream); });
}

}  // namespace wavenet::cuda
