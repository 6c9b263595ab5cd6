// Backward, second part: the gradient of a layer's input from that of a. A convolution the other way round in time,
// on tiles (tile.cuh) of grad_a.
#pragma once

#include "cuda/fours.cuh"
#include "cuda/launch_tiles.h"
#include "cuda/layers.h"
#include "cuda/layout.h"
#include "cuda/tile.cuh"

namespace wavenet::cuda {

template <class S>
__global__ void __launch_bounds__(S::kThreads, resident_data_gradient(S::N))
    data_gradient_kernel(const DataGradientArguments args) {
  using T = typename S::T;
  const TileLaunch& tiled = args.tiled;
  char* const shared = shared_memory();
  const DataGradientLayout<char*> layout(shared, S::tile(), sizeof(T), tiled);
  const int a_pitch = layout.a.pitch, block_row = min(layout.a.row, kSlabBytes);
  const Place<S> place;
  Weights<S::N, S::kThreads, S::kStagesOfRing> weights(tiled.weights, tiled.weight_bytes, tiled.ring, shared,
                                                       tiled.stages);

  // With one buffer and a ring the next tile comes during this one: each block of channels once it is done with.
  bool ahead = false;  // the next tile is on its way
  const auto fetch_channels = [&](const Tile& tile, char* buffer, int from, int count) {
    Rows channels = args.grad_a;
    channels.data = static_cast<T*>(channels.data) + from;
    load_rows<T, S::kThreads>(buffer + from * int(sizeof(T)), a_pitch, tiled.tiling, tile, -tiled.pad_above,
                              tiled.rows(S::M), channels, count);
  };
  const auto fetch = [&](const Tile& tile, char* buffer) {
    if (!ahead) fetch_channels(tile, buffer, 0, 2 * tiled.D);
  };
  const auto work = [&](const Tile& tile, char* buffer, const Tile& next, bool follows) {
    const char* const a = buffer + tiled.pad_above * a_pitch;
    ahead = tiled.ring && follows;
    for (int r0 = 0; r0 < tiled.R; r0 += S::N) {
      Accumulators<S, S::kGroups> sums;
      clear<S, S::kGroups>(sums);
      // The residual's gradient is on its way during the product, all of it asked for before. Narrow slabs' kernels
      // have no registers to hold it meanwhile, and start their sums with it.
      constexpr bool kHeld = S::N == kWidestSlab;
      Fours<S> given;
      if (args.grad_residual.data) {
        given.load(tiled.tiling, tile, place, args.grad_residual, r0, tiled.R);
        if (!kHeld) given.add_to(sums, args.residual_scale);
      }
      for (int block = 0; block < layout.a.row; block += block_row) {
        multiply<S, S::kGroups, false>(sums, place, weights, min(S::N, tiled.R - r0),
                                       a + block + place.fragment_offset(a_pitch), a_pitch, tiled.K * block_row,
                                       Contraction(block_row, a_pitch, [&](int tap) {
                                         return tiled.tap_first[0] + tap * tiled.tap_step[0];
                                       }));
        if (ahead && r0 + S::N >= tiled.R) {
          // Nobody reads the block any more, and the next tile's comes with the next slab. wgmma's fragments of it were
          // there before the last slab's barrier.
          if constexpr (!S::kWarpgroups) __syncthreads();
          fetch_channels(next, buffer, block / int(sizeof(T)), block_row / int(sizeof(T)));
        }
      }
      if (kHeld && args.grad_residual.data) given.add_to(sums, args.residual_scale);
      store_fours(tiled.tiling, tile, place, args.grad_x, r0, tiled.R, sums);
    }
  };
  for_each_tile(tiled.tiling, tiled.buffers, tiled.ring, layout.a_at, layout.a.bytes(), fetch, work);
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
