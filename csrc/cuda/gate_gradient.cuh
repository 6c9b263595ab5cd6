// Backward, first part: a block computes a layer's a again on a tile (tile.cuh), z V^T of the outputs' gradients, and
// from both the gradient of a.
//
//   x tile -> convolution -> a  \
//                                gate's slopes -> grad_a, z (in memory: the next two kernels read them)
//   gradients -> V^T -> grad_z  /
//
// residual_scale is in the packed V.
#pragma once

#include "cuda/gate.cuh"
#include "cuda/launch_tiles.h"
#include "cuda/layers.h"
#include "cuda/layout.h"

namespace wavenet::cuda {

template <class S>
__global__ void __launch_bounds__(S::kThreads, resident_gate_gradient(S::N))
    gate_gradient_kernel(const GateGradientArguments args) {
  using T = typename S::T;
  constexpr int e = sizeof(T);
  const TileLaunch& tiled = args.tiled;
  // Asked again where they are needed: a tall tile's threads have no registers to keep them.
  const auto residual_channels = [&] { return args.grad_residual.data ? args.tiled.R : 0; };
  const auto skip_channels = [&] { return args.grad_skip.data ? args.tiled.S : 0; };
  char* const shared = shared_memory();
  const GateGradientLayout<char*> layout(shared, S::tile(), e, tiled, residual_channels() + skip_channels());
  const int x_row = layout.x.row, g_row = layout.grad.row, x_pitch = layout.x.pitch, g_pitch = layout.grad.pitch;
  const int x_bytes = layout.x.bytes(), g_bytes = layout.grad_bytes;
  const Place<S> place;
  Weights<S::N, S::kThreads, S::kStagesOfRing> weights(tiled.weights, tiled.weight_bytes, tiled.ring, shared,
                                                       tiled.stages);
  float* const biases = reinterpret_cast<float*>(layout.biases_at);
  load_biases<T, S::kThreads>(biases, args.conv_bias, 2 * tiled.D);  // seen by others after the first barrier of a tile

  // With one buffer and a ring, both parts of a tile come during products that need neither: the gradients with the
  // first convolution's first slab, x after the last convolution of the tile before. The gradients must be there for
  // the product that follows: with its first slab, or one sooner by wgmma, whose fragments are loaded before its
  // barrier.
  const auto comes_apart = [&] {
    return tiled.ring && tiled.buffers == 1 && layout.grad_bytes > 0 &&
           tiled.K * layout.x.row > (tiled.stages - (S::kWarpgroups ? 1 : 2)) * kSlabBytes;
  };
  bool ahead = false;  // x of the next tile is on its way
  const auto fetch_x = [&](const Tile& tile, char* buffer) {
    load_rows<T, S::kThreads>(buffer, x_pitch, tiled.tiling, tile, -tiled.pad_above, tiled.rows(S::M), args.x, tiled.R);
  };
  const auto fetch_gradients = [&](const Tile& tile, char* buffer) {
    char* const grad = buffer + x_bytes;
    const int residual = residual_channels(), skip = skip_channels();
    if (residual) load_rows<T, S::kThreads>(grad, g_pitch, tiled.tiling, tile, 0, S::M, args.grad_residual, residual);
    if (skip)
      load_rows<T, S::kThreads>(grad + residual * e, g_pitch, tiled.tiling, tile, 0, S::M, args.grad_skip, skip);
  };
  const auto fetch = [&](const Tile& tile, char* buffer) {
    if (!ahead) fetch_x(tile, buffer);
    if (!comes_apart()) fetch_gradients(tile, buffer);
  };
  const int bytes = x_bytes + g_bytes;
  const auto work = [&](const Tile& tile, char* buffer, const Tile& next, bool follows) {
    const char* const x = buffer + tiled.pad_above * x_pitch;
    const char* const grad = buffer + x_bytes;
    ahead = comes_apart() && follows;
    if (comes_apart()) fetch_gradients(tile, buffer);  // in the group of the next slab
    for (int c0 = 0; c0 < tiled.D; c0 += S::N / 2) {
      Accumulators<S, S::kGroups> a;
      start_with_gate_bias<S>(a, place, c0, tiled.D, SharedBiases{biases});
      multiply<S, S::kGroups, false>(a, place, weights, min(S::N, 2 * (tiled.D - c0)),
                                     x + place.fragment_offset(x_pitch), x_pitch, tiled.K * x_row,
                                     Contraction(x_row, x_pitch, [&](int tap) {
                                       return tiled.tap_first[0] + tap * tiled.tap_step[0];
                                     }));
      if (ahead && c0 + S::N / 2 >= tiled.D) {
        if constexpr (!S::kWarpgroups) __syncthreads();  // nobody reads x any more: wgmma's fragments are loaded before
        fetch_x(next, buffer);
      }
      Accumulators<S, S::kGroups / 2> grad_z;
      clear<S, S::kGroups / 2>(grad_z);
      multiply<S, S::kGroups / 2, true>(grad_z, place, weights, min(S::N / 2, tiled.D - c0),
                                        grad + place.fragment_offset(g_pitch), g_pitch, g_row,
                                        OneRow());
#pragma unroll
      for (int f = 0; f < S::kRows; ++f) {
        int t2[2];
        times_of(t2, tiled.tiling, tile, place, f);
#pragma unroll
        for (int p = 0; p < S::kGroups / 2; ++p) {
          const int c = c0 + place.pair(p) * 16 + place.fourth();
          if (c >= tiled.D) continue;
          const Pair pair{&a[f][2 * p]};
          add_conditioning<T>(pair, args.cond, tile.b, t2, c, tiled.D);
#pragma unroll
          for (int row = 0; row < 2; ++row) {
            if (t2[row] < 0) continue;
            Floats<4> gz;
            if (args.grad_z.data) {
              gz = load<T, 4>(row_at<const T>(args.grad_z, tile.b, t2[row]) + c);
            } else {
#pragma unroll
              for (int i = 0; i < 4; ++i) gz.values[i] = Group{grad_z[f][p]}.at(row, i);
            }
            GateSlopes slopes;
#pragma unroll
            for (int i = 0; i < 4; ++i) slopes.set<T>(i, pair.at(0, row, i), pair.at(1, row, i), gz.values[i]);
            T* const grad_a = row_at<T>(args.grad_a, tile.b, t2[row]) + c;
            store<T, 4>(grad_a, slopes.filter);
            store<T, 4>(grad_a + tiled.D, slopes.gate);
            if (args.z.data) store<T, 4>(row_at<T>(args.z, tile.b, t2[row]) + c, slopes.z);
          }
        }
      }
    }
  };
  for_each_tile(tiled.tiling, tiled.buffers, tiled.ring, layout.tiles_at, bytes, fetch, work);
}

template <class T>
void load_gate_gradient() {
  load_shapes<T>("gate_gradient", [](auto shape) { return gate_gradient_kernel<decltype(shape)>; });
}

template <class T>
void run_gate_gradient(const GateGradientArguments& arguments, const char* name, cudaStream_t stream) {
  with_shape<T>(arguments.tiled, name,
                [&](auto shape) { launch_tiles(gate_gradient_kernel<decltype(shape)>, arguments, name, stream); });
}

}  // namespace wavenet::cuda
