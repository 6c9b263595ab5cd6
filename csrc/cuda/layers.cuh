// Forward: a block computes several consecutive layers on a tile (tile.cuh) without leaving the chip.
//
//   x tile -> convolution -> gate -> z -> residual 1x1 -> x tile, in place -> ... next layer
//                                    z of all layers -> skip 1x1s as one product -> skip
//
// The rows of a layer that its own taps can't reach on chip are garbage: they are the tile's halo, which belongs to
// other tiles. Rows before the clip's first time are written as zeros after every layer, as the padding of the next
// one.
#pragma once

#include "cuda/fours.cuh"
#include "cuda/gate.cuh"
#include "cuda/launch_tiles.h"
#include "cuda/layers.h"
#include "cuda/layout.h"

namespace wavenet::cuda {

// Of each layer the convolution's and the residual's; the skips' are summed over the layers.
template <class S>
__device__ inline void load_layer_biases(float* to, float* skip, const LayersArguments& args) {
  using T = typename S::T;
  const int gates = 2 * args.tiled.D, R = args.tiled.R;
  const T *conv = static_cast<const T*>(args.conv_bias), *out = static_cast<const T*>(args.out_bias);
  for (int layer = 0; layer < args.layers; ++layer) {
    load_biases<T, S::kThreads>(to + layer * (gates + R), conv ? conv + layer * gates : nullptr, gates);
    load_biases<T, S::kThreads>(to + layer * (gates + R) + gates, out ? out + layer * args.out_channels : nullptr, R);
  }
  for (int i = threadIdx.x; i < args.tiled.S; i += S::kThreads) {
    float sum = 0;
    for (int layer = 0; out && layer < args.layers; ++layer) sum += to_float(out[layer * args.out_channels + R + i]);
    skip[i] = sum;
  }
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, resident_layers(S::N)) layers_kernel(const LayersArguments args) {
  using T = typename S::T;
  constexpr int e = sizeof(T);
  const TileLaunch& tiled = args.tiled;
  char* const shared = shared_memory();
  const LayersLayout<char*> layout(shared, S::tile(), e, tiled, args.layers);
  const int x_row = layout.x.row, z_row = layout.z.row, x_pitch = layout.x.pitch, z_pitch = layout.z.pitch;
  const int z_bytes = layout.z.bytes();
  char* const z_tiles = layout.z_at;
  const Place<S> place;
  Weights<S::N, S::kThreads, S::kStagesOfRing> weights(tiled.weights, tiled.weight_bytes, tiled.ring, shared,
                                                       tiled.stages);
  // Seen by others after the first barrier of a tile.
  float* const biases = reinterpret_cast<float*>(layout.biases_at);
  // Asked again: a tall tile's threads have no registers to keep it.
  const auto skip_biases = [&] { return biases + args.layers * (2 * tiled.D + tiled.R); };
  load_layer_biases<S>(biases, skip_biases(), args);

  bool ahead = false;  // the next tile is on its way
  const auto fetch = [&](const Tile& tile, char* buffer) {
    if (ahead) return;
    load_rows<T, S::kThreads>(buffer + (tiled.pad_above - tiled.load_above) * x_pitch, x_pitch, tiled.tiling, tile,
                 -tiled.load_above, tiled.load_above + S::M + tiled.load_below, args.x, tiled.R);
  };
  const auto work = [&](const Tile& tile, char* buffer, const Tile& next, bool follows) {
    ahead = false;
    char* const x = buffer + tiled.pad_above * x_pitch;
    for (int layer = 0; layer < args.layers; ++layer) {
      char* const z = z_tiles + layer * z_bytes;
      const float* const bias = biases + layer * (2 * tiled.D + tiled.R);
      Rows cond = args.cond;
      if (cond.data) cond.data = static_cast<T*>(cond.data) + layer * 2 * tiled.D;
      for (int c0 = 0; c0 < tiled.D; c0 += S::N / 2) {
        Accumulators<S, S::kGroups> sums;
        start_with_gate_bias<S>(sums, place, c0, tiled.D, SharedBiases{bias});
        multiply<S, S::kGroups, false>(sums, place, weights, min(S::N, 2 * (tiled.D - c0)),
                                       x + place.fragment_offset(x_pitch), x_pitch, tiled.K * x_row,
                                       Contraction(x_row, x_pitch, [&](int tap) {
                                         return tiled.tap_first[layer] + tap * tiled.tap_step[layer];
                                       }));
#pragma unroll
        for (int f = 0; f < S::kRows; ++f) {
          int t2[2];
          times_of(t2, tiled.tiling, tile, place, f);
#pragma unroll
          for (int p = 0; p < S::kGroups / 2; ++p) {
            const int c = c0 + place.pair(p) * 16 + place.fourth();
            if (c >= tiled.D) continue;
            const Pair pair{&sums[f][2 * p]};
            add_conditioning<T>(pair, cond, tile.b, t2, c, tiled.D);
            store_gates<T>(pair, z + place.row_of(f, 0) * z_pitch + c * e, z_pitch);
          }
        }
      }
      __syncthreads();  // z is whole, and x is not read by a convolution any more
      if (args.z.data) store_rows<T, S::kThreads>(z, z_pitch, tiled.tiling, tile, args.z, tiled.D);
      if (layer + 1 == args.layers && !args.residual) break;

      for (int o0 = 0; o0 < tiled.R; o0 += S::N) {
        Accumulators<S, S::kGroups> sums;
        start_with_bias<S>(sums, place, o0, tiled.R, SharedBiases{bias + 2 * tiled.D});
        const int left = tiled.R - o0 - place.first_output();
        multiply<S, S::kGroups, false>(sums, place, weights, min(S::N, tiled.R - o0),
                                       z + place.fragment_offset(z_pitch), z_pitch, z_row,
                                       OneRow());
#pragma unroll
        for (int f = 0; f < S::kRows; ++f) {
          int t2[2];
          times_of(t2, tiled.tiling, tile, place, f);
#pragma unroll
          for (int g = 0; g < S::kGroups; ++g) {
            const int further = S::groups_to(g) * 16;
            if (further >= left) continue;
#pragma unroll
            for (int row = 0; row < 2; ++row) {
              T* const at =
                  reinterpret_cast<T*>(x + place.row_of(f, 2 * row) * x_pitch) + o0 + place.first_output() + further;
              Floats<4> v = load<T, 4>(at);
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                v.values[i] = args.residual_scale * (v.values[i] + Group{sums[f][g]}.at(row, i));
                if (t2[row] < 0) v.values[i] = 0;
              }
              store<T, 4>(at, v);
            }
          }
        }
      }
      __syncthreads();
      if (args.output[layer].data)
        store_rows<T, S::kThreads>(x, x_pitch, tiled.tiling, tile, args.output[layer], tiled.R);
    }

    if (S::N == kWidestSlab && tiled.ring && tiled.S && follows) {
      __syncthreads();  // x is in memory: the next tile's may come during the skips' product
      fetch(next, buffer);
      ahead = true;
    }
    for (int o0 = 0; o0 < tiled.S; o0 += S::N) {
      Accumulators<S, S::kGroups> sums;
      start_with_bias<S>(sums, place, o0, tiled.S, SharedBiases{skip_biases()});
      // What the skip sum holds already comes during the product. Without wgmma neither tall tiles nor float32 leave
      // registers for that.
      constexpr bool kHeld = S::kWarpgroups || (S::M <= kTall && sizeof(T) == 2);
      Fours<S> before;
      if (args.accumulate_skip) {
        before.load(tiled.tiling, tile, place, args.skip, o0, tiled.S);
        if (!kHeld) before.add_to(sums, 1);
      }
      multiply<S, S::kGroups, false>(sums, place, weights, min(S::N, tiled.S - o0),
                                     z_tiles + place.fragment_offset(z_pitch), z_pitch, args.layers * z_row,
                                     Contraction(z_row, z_bytes, [](int layer) { return layer; }));
      if (kHeld && args.accumulate_skip) before.add_to(sums, 1);
      store_fours(tiled.tiling, tile, place, args.skip, o0, tiled.S, sums);
    }
  };
  for_each_tile(tiled.tiling, tiled.buffers, tiled.ring, layout.x_at, layout.x.bytes(), fetch, work);
}

template <class T>
void load_layers() {
  load_shapes<T>("layers", [](auto shape) { return layers_kernel<decltype(shape)>; });
}

template <class T>
void run_layers(const LayersArguments& arguments, const char* name, cudaStream_t stream) {
  with_shape<T>(arguments.tiled, name,
                [&](auto shape) { launch_tiles(layers_kernel<decltype(shape)>, arguments, name, stream); });
}

}  // namespace wavenet::cuda
