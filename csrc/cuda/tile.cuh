// What a block works on at a time: a tile of rows that lie on the phases of a dilation.
//
//   t = phase + step * dilation           tile row r = (step - first step) * P + (phase - first phase)
//
//              P phases                   A tap of a convolution reaches whole steps back: a shift by P rows, whatever the
//           +-----------+                 dilation is. A halo of a few steps above (and below, where a layer looks
//    steps  |   halo    |  not its own    ahead or its gradient does) is loaded or computed with the tile, but
//           +-----------+                 belongs to its neighbours. Rows of P phases that lie beyond the last phase or outside
//           |    own    |                 the clip read as zeros and are not written.
//           +-----------+
//
// Steps count a base dilation; where several layers share a tile it is one that divides all of theirs.
#pragma once

#include "cuda/intrinsics.cuh"
#include "cuda/tiling.h"
#include "cuda/vector.cuh"
#include "layer.h"

namespace wavenet::cuda {

struct Tile {
  int64_t b, phase, step;  // clip, and where row 0 is; step may be negative
};

__device__ inline Tile tile_at(const Tiling& tiling, int64_t index) {
  const int64_t groups = tiling.phase_groups, in_clip = index % tiling.tiles_per_clip;
  const int64_t steps_own = tiling.own_rows >> tiling.log_phases, halo = tiling.own_first >> tiling.log_phases;
  return {index / tiling.tiles_per_clip, (in_clip % groups) << tiling.log_phases, in_clip / groups * steps_own - halo};
}

// The time of a row of the tile, which may be outside of it; -1: not in the clip.
__device__ inline int64_t time_of(const Tiling& tiling, const Tile& tile, int row) {
  const int64_t phase = tile.phase + (row & ((1 << tiling.log_phases) - 1));
  const int64_t step = tile.step + (row >> tiling.log_phases);
  if (phase >= tiling.phases || step < 0 || step >= tiling.steps) return -1;
  const int64_t t = phase + step * tiling.dilation;
  return t < tiling.T ? t : -1;
}

__device__ inline bool is_own(const Tiling& tiling, int row) {
  return row >= tiling.own_first && row < tiling.own_first + tiling.own_rows;
}

template <class T>
__device__ inline T* row_at(const Rows& rows, int64_t b, int64_t t) {
  return static_cast<T*>(rows.data) + b * rows.batch_stride + t * rows.time_stride;
}

// Starts copying `count` rows from tile row `first` on, `channels` of each (a multiple of 16 bytes), to shared memory.
template <class T>
__device__ inline void load_rows(char* shared, int pitch, const Tiling& tiling, const Tile& tile, int first, int count,
                                 const Rows& from, int channels) {
  constexpr int kUnit = 16 / sizeof(T);
  const int units = channels / kUnit;
  for (int i = threadIdx.x; i < count * units; i += blockDim.x) {
    const int row = i / units, unit = i - row * units;
    const int64_t t = time_of(tiling, tile, first + row);
    const T* source = t < 0 ? static_cast<const T*>(from.data) : row_at<const T>(from, tile.b, t) + unit * kUnit;
    copy_async(shared + row * pitch + unit * 16, source, t >= 0);
  }
}

// Writes the tile's own rows from shared memory; row 0 of the tile is at `shared`.
template <class T>
__device__ inline void store_rows(const char* shared, int pitch, const Tiling& tiling, const Tile& tile, const Rows& to,
                                  int channels) {
  constexpr int kUnit = 16 / sizeof(T);
  const int units = channels / kUnit;
  for (int i = threadIdx.x; i < tiling.own_rows * units; i += blockDim.x) {
    const int own = i / units, unit = i - own * units, row = tiling.own_first + own;
    const int64_t t = time_of(tiling, tile, row);
    if (t >= 0)
      *reinterpret_cast<uint4*>(row_at<T>(to, tile.b, t) + unit * kUnit) =
          *reinterpret_cast<const uint4*>(shared + row * pitch + unit * 16);
  }
}

// A block's share of the tiles. load(tile, buffer) starts copying a tile's inputs, work(tile, buffer) uses them; with two
// buffers, each of `bytes`, the next tile's arrive meanwhile. All threads of the block are in every call.
template <class Load, class Work>
__device__ inline void for_each_tile(const Tiling& tiling, int buffers, char* shared, int bytes, Load load, Work work) {
  const auto start = [&](int64_t index, int buffer) {
    if (index < tiling.tiles) load(tile_at(tiling, index), shared + buffer * bytes);
    copy_async_commit();
  };
  if (buffers == 2) start(blockIdx.x, 0);
  int buffer = 0;
  for (int64_t index = blockIdx.x; index < tiling.tiles; index += gridDim.x) {
    if (buffers == 1) {
      __syncthreads();  // the last tile is not read any more
      start(index, 0);
    }
    copy_async_wait<0>();
    __syncthreads();
    char* const here = shared + buffer * bytes;
    if (buffers == 2) {
      buffer ^= 1;
      start(index + gridDim.x, buffer);
    }
    work(tile_at(tiling, index), here);
  }
  copy_async_wait<0>();  // nothing may arrive after the block has ended
}

}  // namespace wavenet::cuda
