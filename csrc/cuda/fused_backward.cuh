// Backward of a narrow layer in one launch, in 16 bits: x and the gradients of the outputs are read once, the
// gradient of x is written once, and nothing in between leaves the chip.
//
//   x -> convolution -> a ; gradients -> V^T -> grad_z ; gate's slopes -> grad_a, z     all rows of the tile
//   grad_a -> W^T        -> gradient of x                                               own rows
//   gradients^T z        -> sums of the 1x1s' weights, in registers                     own rows: z is zero elsewhere
//   grad_a^T x           -> sums of the convolution's weights, in registers             own rows: grad_a is zeroed too
//
// The halo (rows of grad_a that the convolution's gradient reaches for) is computed again by every tile that needs
// it. Rows that are not own count as zeros in the sums of weights, so that an infinity among them comes out as a NaN.
// A block walks many tiles, then writes its sums to its place among the partial ones (weight_gradient.h).
#pragma once

#include <type_traits>

#include "cuda/gate.cuh"
#include "cuda/launch_tiles.h"
#include "cuda/layers.h"
#include "cuda/layout.h"
#include "cuda/outer.cuh"
#include "cuda/square_sums.cuh"
#include "cuda/tile.cuh"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

// Products of 32 x 32 channels over the tile's rows: those of the convolution's weights, its taps one above the other
// as a matrix of K 2D x R, then those of the 1x1s', dealt out to the warps one by one.
template <class T, int TILES>
class TileSums {
 public:
  __device__ static int of_conv(const WeightGradientArguments& args) { return args.K * args.D / 16 * (args.R / 32); }
  // Whether the i-th blocks of all warps, and so those before, are the convolution's.
  __device__ static bool all_of_conv(int i, const WeightGradientArguments& args) {
    return (i + 1) * (kThreads / 32) <= of_conv(args);
  }
  // i-th block of this warp, of a matrix of `columns`.
  struct Block {
    bool there, conv;
    int row, column, columns;
  };
  __device__ static Block block(int i, const WeightGradientArguments& args) {
    const int of_out = args.outputs() / 32 * (args.D / 32);
    int index = i * (kThreads / 32) + threadIdx.x / 32;
    const bool there = index < of_conv(args) + of_out, conv = index < of_conv(args);
    if (!conv) index -= of_conv(args);
    const int columns = conv ? args.R : args.D, log = log2_of(columns / 32);
    return {there, conv, (index >> log) * 32, (index & ((1 << log) - 1)) * 32, columns};
  }

  // sums of block i += left^T right, both `rows` rows of the tile; the pointers are at the block's channels. each_row(
  // left's fragments, row): of 16 rows, for more sums of the same.
  template <class Visit>
  __device__ void add(int i, const char* left, int left_pitch, const char* right, int right_pitch, int rows,
                      Visit each_row) {
    const int lane = threadIdx.x % 32;
#pragma unroll 2  // of four blocks, no more fits the registers of every chip
    for (int row = 0; row < rows; row += 16) {
      uint32_t a[2][4], b[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        load_left<T>(a[half], left + row * left_pitch + half * 32, left_pitch, lane);
        load_right<T>(b[half], right + row * right_pitch + half * 32, right_pitch, lane);
      }
      each_row(a, row);
#pragma unroll
      for (int f = 0; f < 2; ++f)
#pragma unroll
        for (int g = 0; g < 2; ++g) {
          mma<T>(sums_[i][f][g][0], a[f], b[g][0], b[g][1]);
          mma<T>(sums_[i][f][g][1], a[f], b[g][2], b[g][3]);
        }
    }
  }

  // Block i, to row 0 and column 0 of where it belongs.
  __device__ void write(int i, float* to, int pitch) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int f = 0; f < 2; ++f)
#pragma unroll
      for (int g = 0; g < 2; ++g)
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
          for (int row = 0; row < 2; ++row) {
            const float* const v = &sums_[i][f][g][half][2 * row];
            store<float, 2>(to + (f * 16 + lane / 4 + row * 8) * pitch + g * 16 + half * 8 + lane % 4 * 2,
                            Floats<2>{{v[0], v[1]}});
          }
  }

 private:
  float sums_[TILES][2][2][2][4] = {};
};

// Sums of 16 channels of each fragment over own rows, for biases: the product with a matrix whose first column is 1
// where a row is own.
template <class T, int FRAGMENTS>
class ColumnSums {
 public:
  // Of this thread's elements of all such matrices of 16 rows, the first 2 of 32 bits each: which are 1.
  __device__ static uint32_t own_rows(const Tiling& tiling, int rows) {
    uint32_t own = 0;
    const int lane = threadIdx.x % 32;
    for (int i = 0; i < rows / 4 && lane < 4; ++i)
      if (is_own(tiling, i / 4 * 16 + i % 4 / 2 * 8 + lane * 2 + i % 2)) own |= 1u << i;
    return own;
  }

  // Of 16 rows from `row` of the tile on, by mma's left fragments.
  __device__ void add(const uint32_t (&left)[FRAGMENTS][4], int row, uint32_t own_rows) {
    constexpr uint32_t kOne = std::is_same_v<T, __half> ? 0x3c00u : 0x3f80u;
    const uint32_t own = own_rows >> row / 4;
    const auto ones = [](uint32_t two) { return ((two & 1) | (two & 2) << 15) * kOne; };
#pragma unroll
    for (int f = 0; f < FRAGMENTS; ++f) mma<T>(sums_[f], left[f], ones(own), ones(own >> 2));
  }

  // Adds them to those sums.
  __device__ void add_to(float* sums) const {
    const int lane = threadIdx.x % 32;
    if (lane % 4 != 0) return;
#pragma unroll
    for (int f = 0; f < FRAGMENTS; ++f)
#pragma unroll
      for (int row = 0; row < 2; ++row) sums[f * 16 + row * 8 + lane / 4] += sums_[f][2 * row];
  }

 private:
  float sums_[FRAGMENTS][4] = {};
};

// SQUARE: has_square_sums(), which are taken where there is wgmma.
template <class T, int TILES, bool SQUARE = false>
__global__ void __launch_bounds__(kThreads, resident_fused_backward(TILES))
    fused_backward_kernel(const FusedBackwardArguments args) {
  using S = Shape<T, fused_tile_size(TILES).M, fused_tile_size(TILES).N>;
  constexpr int e = sizeof(T);
  static_assert(e == 2);
  const TileLaunch& tiled = args.tiled;
  const WeightGradientArguments& weight = args.weight;
  const int residual = weight.residual_channels(), outputs = weight.outputs();
  char* const shared = shared_memory();
  const FusedBackwardLayout<char*> layout(shared, S::tile(), e, tiled, outputs);
  const int x_row = layout.x.row, a_row = layout.a.row, g_row = outputs * e;
  const int x_pitch = layout.x.pitch, a_pitch = layout.a.pitch, z_pitch = layout.z.pitch, g_pitch = layout.grad.pitch;
  const int x_bytes = layout.x.bytes(), g_bytes = layout.grad.bytes();
  constexpr bool kSwizzled = SQUARE && S::kWarpgroups;
  // The padding of grad_a is as wide as that of x, the other way round. Swizzled, its second 64 channels are `next`
  // bytes further on, and the padding of rows that need none leaves room to begin where wgmma wants it.
  static_assert(!kSwizzled || S::M * Panel::kPad >= 2 * 1023);
  const auto aligned = [&](char* at) { return shared + ((at - shared + 1023) & ~1023); };
  char* const a_tile = kSwizzled ? aligned(layout.a_at + tiled.pad_below * kSlabBytes)
                                 : layout.a_at + tiled.pad_below * a_pitch;
  char* const z_tile = kSwizzled ? aligned(layout.z_at) : layout.z_at;
  const int next = (tiled.rows(S::M) * kSlabBytes + 1023) & ~1023;
  const Place<S> place;
  Weights<S::N> weights(tiled.weights, tiled.weight_bytes, tiled.ring, shared);
  float* const biases = reinterpret_cast<float*>(layout.biases_at);
  load_biases<T>(biases, args.conv_bias, 2 * tiled.D);  // seen by others after the first barrier of a tile

  std::conditional_t<kSwizzled, SquareSums<T>, TileSums<T, TILES>> sums;  // gradients of the weights
  // And of biases, grad_a's, then the outputs' channels: a warp adds up those of its blocks of the first columns.
  float* const bias_sums = biases + 2 * tiled.D;
  for (int i = threadIdx.x; i < 2 * tiled.D + outputs; i += kThreads) bias_sums[i] = 0;
  const uint32_t own_rows = ColumnSums<T, 2>::own_rows(tiled.tiling, S::M);

  const auto fetch_gradients = [&](const Tile& tile, char* buffer) {
    char* const grad = buffer + x_bytes;
    if (residual) load_rows<T>(grad, g_pitch, tiled.tiling, tile, 0, S::M, weight.grad_residual, residual);
    if (outputs > residual)
      load_rows<T>(grad + residual * e, g_pitch, tiled.tiling, tile, 0, S::M, weight.grad_skip, outputs - residual);
  };
  bool ahead = false;  // the gradients of the next tile are on their way
  const auto fetch = [&](const Tile& tile, char* buffer) {
    load_rows<T>(buffer, x_pitch, tiled.tiling, tile, -tiled.pad_above, tiled.rows(S::M), weight.x, tiled.R);
    if (!ahead) fetch_gradients(tile, buffer);
    ahead = false;
  };
  const int bytes = x_bytes + g_bytes;
  const auto work = [&](const Tile& tile, char* buffer, const Tile& next_tile, bool follows) {
    const char* const x = buffer + tiled.pad_above * x_pitch;
    char* const grad = buffer + x_bytes;

    for (int c0 = 0; c0 < tiled.D; c0 += S::N / 2) {
      Accumulators<S, S::kGroups> a;
      start_with_gate_bias<S>(a, place, c0, tiled.D, SharedBiases{biases});
      multiply<S, S::kGroups, false>(a, place, weights, S::N, x + place.fragment_offset(x_pitch), x_pitch,
                                     tiled.K * x_row,
                                     Contraction(x_row, x_pitch, [&](int tap) {
                                       return tiled.tap_first[0] + tap * tiled.tap_step[0];
                                     }));
      Accumulators<S, S::kGroups / 2> grad_z;
      clear<S, S::kGroups / 2>(grad_z);
      multiply<S, S::kGroups / 2, true>(grad_z, place, weights, S::N / 2, grad + place.fragment_offset(g_pitch),
                                        g_pitch, g_row, OneRow());
#pragma unroll
      for (int f = 0; f < S::kRows; ++f) {
        int t2[2];
        times_of(t2, tiled.tiling, tile, place, f);
#pragma unroll
        for (int p = 0; p < S::kGroups / 2; ++p) {
          const int c = c0 + place.pair(p) * 16 + place.fourth();
          const Pair pair{&a[f][2 * p]};
          add_conditioning<T>(pair, args.cond, tile.b, t2, c, tiled.D);
#pragma unroll
          for (int row = 0; row < 2; ++row) {
            const int r = place.row_of(f, 2 * row);
            GateSlopes slopes;
#pragma unroll
            for (int i = 0; i < 4; ++i)
              slopes.set<T>(i, pair.at(0, row, i), pair.at(1, row, i), Group{grad_z[f][p]}.at(row, i));
            const bool there = t2[row] >= 0;
            T* const grad_a = kSwizzled ? reinterpret_cast<T*>(a_tile + swizzled(r, c))
                                        : reinterpret_cast<T*>(a_tile + r * a_pitch) + c;
            T* const z = kSwizzled ? reinterpret_cast<T*>(z_tile + swizzled(r, c))
                                   : reinterpret_cast<T*>(z_tile + r * z_pitch) + c;
            store_if<T, 4>(there, grad_a, slopes.filter);
            store_if<T, 4>(there, grad_a + (kSwizzled ? next / e : tiled.D), slopes.gate);
            store_if<T, 4>(there && is_own(tiled.tiling, r), z, slopes.z);
          }
        }
      }
    }
    __syncthreads();  // grad_a and z are whole

    if (args.grad_cond.data) {
      if constexpr (kSwizzled) {
        T* const to = row_at<T>(args.grad_cond, tile.b, 0);
        for_each_unit<kThreads>(tiled.tiling, tile, tiled.tiling.own_first, tiled.tiling.own_rows, a_row / 16,
                                [&](int row, int unit, int t) {
                                  const char* const from = a_tile + unit / 8 * next + swizzled(row, unit % 8 * 8);
                                  if (t >= 0)
                                    *reinterpret_cast<uint4*>(to + t * args.grad_cond.time_stride + unit * 8) =
                                        *reinterpret_cast<const uint4*>(from);
                                });
      } else {
        store_rows<T>(a_tile, a_pitch, tiled.tiling, tile, args.grad_cond, 2 * tiled.D);
      }
    }

    Accumulators<S, S::kGroups> grad_x;
    clear<S, S::kGroups>(grad_x);
    const auto rows_to = [&](int tap) { return -(tiled.tap_first[0] + tap * tiled.tap_step[0]); };
    if constexpr (kSwizzled) {
      multiply<S, S::kGroups, false>(
          grad_x, place, weights, tiled.R, a_tile, a_pitch, tiled.K * a_row,
          SwizzledContraction(place.row + place.lane % 16, place.lane / 16, next, rows_to));
    } else {
      multiply<S, S::kGroups, false>(grad_x, place, weights, tiled.R, a_tile + place.fragment_offset(a_pitch), a_pitch,
                                     tiled.K * a_row, Contraction(a_row, a_pitch, rows_to));
    }
    if (args.grad_x.data) {
#pragma unroll
      for (int f = 0; f < S::kRows; ++f) {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          const int r = place.row_of(f, 2 * row), t = time_of(tiled.tiling, tile, r);
          if (t < 0 || !is_own(tiled.tiling, r)) continue;
          T* const to = row_at<T>(args.grad_x, tile.b, t);
#pragma unroll
          for (int g = 0; g < S::kGroups; ++g) {
            const int c = place.group(g) * 16 + place.fourth();
            if (c >= tiled.R) continue;
            Floats<4> v{};
            if (residual) v = load<T, 4>(reinterpret_cast<const T*>(grad + r * g_pitch) + c);
#pragma unroll
            for (int i = 0; i < 4; ++i)
              v.values[i] = weight.residual_scale * v.values[i] + Group{grad_x[f][g]}.at(row, i);
            store<T, 4>(to + c, v);
          }
        }
      }
    }
    __syncthreads();  // nobody reads grad_a's halo any more
    const int units = a_row / 16;
    for (int i = threadIdx.x; i < (S::M - tiled.tiling.own_rows) * units; i += kThreads) {
      const int halo = i / units, row = halo < tiled.tiling.own_first ? halo : halo + tiled.tiling.own_rows;
      const int unit = i % units, in_a = kSwizzled ? unit / 8 * next + row * kSlabBytes + unit % 8 * 16
                                                   : row * a_pitch + unit * 16;
      *reinterpret_cast<uint4*>(a_tile + in_a) = uint4{};
    }
    if (kSwizzled) show_to_warpgroups();
    __syncthreads();

    const auto fetch_ahead = [&] {
      __syncthreads();  // the 1x1s' sums, which come first here, are done with the gradients
      fetch_gradients(next_tile, buffer);
      copy_async_commit();
      ahead = true;
    };
    if constexpr (kSwizzled) {
      const int warpgroup = threadIdx.x / 128, channels = threadIdx.x / 32 % 4 * 16;  // of it, this warp's first
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int o = (warpgroup * 2 + half) * kSquare + channels;
        if (o >= outputs) continue;
        ColumnSums<T, 1> of_bias;
        sums.add_out(half, grad + o * e, g_pitch, z_tile, S::M,
                     [&](auto& fragment, int at) { of_bias.add(fragment, at, own_rows); });
        of_bias.add_to(bias_sums + 2 * tiled.D + o);
      }
      if (follows) fetch_ahead();
      const int shift = tiled.tap_first[0] + warpgroup * tiled.tap_step[0];
      if (warpgroup < tiled.K) sums.add_conv(x + shift * x_pitch + channels * e, x_pitch, a_tile, next, S::M);
      SquareSums<T>::add_bias(bias_sums, a_tile, next, S::M);
    } else {
#pragma unroll
      for (int i = TILES - 1; i >= 0; --i) {
        if (follows && !ahead && TileSums<T, TILES>::all_of_conv(i, weight)) fetch_ahead();
        const auto block = TileSums<T, TILES>::block(i, weight);
        if (!block.there) continue;
        const int tap = block.conv ? block.row / (2 * tiled.D) : 0, row = block.row - tap * 2 * tiled.D;
        const int shift = tiled.tap_first[0] + tap * tiled.tap_step[0];
        const char* const left = block.conv ? a_tile : grad;
        const char* const right = block.conv ? x + shift * x_pitch : z_tile;
        const auto add = [&](auto each_row) {
          sums.add(i, left + row * e, block.conv ? a_pitch : g_pitch, right + block.column * e,
                   block.conv ? x_pitch : z_pitch, S::M, each_row);
        };
        if (tap == 0 && block.column == 0) {
          ColumnSums<T, 2> of_bias;
          add([&](auto& fragments, int at) { of_bias.add(fragments, at, own_rows); });
          of_bias.add_to(bias_sums + (block.conv ? 0 : 2 * tiled.D) + row);
        } else {
          add([](auto&, int) {});
        }
      }
    }
  };
  for_each_tile(tiled.tiling, tiled.buffers, tiled.ring, layout.tiles_at, bytes, fetch, work);

  float* const partial = weight.partial + blockIdx.x * weight.partial_size();
  if constexpr (kSwizzled) {
    sums.write(partial, partial + weight.conv_size(), weight);
  } else {
#pragma unroll
    for (int i = 0; i < TILES; ++i) {
      const auto block = TileSums<T, TILES>::block(i, weight);
      if (!block.there) continue;
      float* const to = partial + (block.conv ? 0 : weight.conv_size());
      sums.write(i, to + block.row * block.columns + block.column, block.columns);
    }
  }
  __syncthreads();
  float* const bias = partial + weight.conv_size() + weight.out_size();
  for (int i = threadIdx.x; i < 2 * tiled.D + outputs; i += kThreads) bias[i] = bias_sums[i];
}

template <class T>
void load_fused_backward() {
  load_kernel("fused_backward", fused_backward_kernel<T, 1>);
  load_kernel("fused_backward", fused_backward_kernel<T, 2>);
  load_kernel("fused_backward", fused_backward_kernel<T, 4>);
  load_kernel("fused_backward", fused_backward_kernel<T, 4, true>);
}

template <class T>
void run_fused_backward(const FusedBackwardArguments& args, const char* name, cudaStream_t stream) {
  if (args.tiles == 1) return launch_tiles(fused_backward_kernel<T, 1>, args, name, stream);
  if (args.tiles == 2) return launch_tiles(fused_backward_kernel<T, 2>, args, name, stream);
  if (has_square_sums(args.weight)) return launch_tiles(fused_backward_kernel<T, 4, true>, args, name, stream);
  launch_tiles(fused_backward_kernel<T, 4>, args, name, stream);
}

}  // namespace wavenet::cuda
