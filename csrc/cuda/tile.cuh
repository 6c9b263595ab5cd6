// What a block works on at a time: a tile of rows that lie on the phases of a dilation.
//
//   t = phase + step * dilation           tile row r = (step - first step) * P + (phase - first phase)
//
//              P phases                A tap of a convolution reaches whole steps back: a shift by P rows, whatever
//           +-----------+              the dilation is. A halo of a few steps above (and below, where a layer looks
//    steps  |   halo    |  not own    ahead or its gradient does) is loaded or computed with the tile, but belongs to
//           +-----------+              its neighbours. Rows of P phases that lie beyond the last phase or outside the
//           |    own    |              clip read as zeros and are not written.
//           +-----------+
//
// Steps count a base dilation; where several layers share a tile it is one that divides all of theirs.
#pragma once

#include "cuda/intrinsics.cuh"
#include "cuda/tile_launch.h"
#include "cuda/tiling.h"
#include "cuda/vector.cuh"
#include "layer.h"

namespace wavenet::cuda {

struct Tile {
  int b, phase, step;  // clip, and where row 0 is; step may be negative
};

__device__ inline Tile tile_at(const Tiling& tiling, unsigned index) {
  const unsigned groups = tiling.phase_groups, tiles_per_clip = tiling.tiles_per_clip;
  const unsigned clip = index / tiles_per_clip, in_clip = index - clip * tiles_per_clip, along = in_clip / groups;
  const int steps_own = tiling.own_rows >> tiling.log_phases, halo = tiling.own_first >> tiling.log_phases;
  return {static_cast<int>(clip), static_cast<int>((in_clip - along * groups) << tiling.log_phases),
          static_cast<int>(along) * steps_own - halo};
}

// The next one, of tiles without a halo of their own.
__device__ inline Tile tile_after(const Tiling& tiling, Tile tile) {
  tile.phase += tiling.P();
  if (tile.phase >> tiling.log_phases == tiling.phase_groups) {
    tile.phase = 0, tile.step += tiling.own_rows >> tiling.log_phases;
    if (tile.step >= tiling.steps) tile.step = 0, ++tile.b;
  }
  return tile;
}

// The time of a row of the tile, which may be outside of it; -1: not in the clip.
__device__ inline int time_of(const Tiling& tiling, const Tile& tile, int row) {
  const int phase = tile.phase + (row & ((1 << tiling.log_phases) - 1));
  const unsigned step = tile.step + (row >> tiling.log_phases);  // negative: greater than any
  const unsigned t = phase + step * tiling.dilation;              // 32 bits hold it where the step is one
  return phase < tiling.phases && step < unsigned(tiling.steps) && t < unsigned(tiling.T) ? int(t) : -1;
}

__device__ inline bool is_own(const Tiling& tiling, int row) {
  return row >= tiling.own_first && row < tiling.own_first + tiling.own_rows;
}

template <class T>
__device__ inline T* row_at(const Rows& rows, int64_t b, int64_t t) {
  return static_cast<T*>(rows.data) + b * rows.batch_stride + t * rows.time_stride;
}

// 16 bytes of a row for each thread, neighbouring threads for neighbouring units, where all of a thread's rows are of
// one phase: from one of them to the next everything moves on by as much.
template <int THREADS>
class EvenUnits {
 public:
  // Whether rows of so many units are such.
  __device__ static bool are(const Tiling& tiling, int units) {
    constexpr int kPower = THREADS & -THREADS;  // of two, that divides the threads
    return (units & (units - 1)) == 0 && kPower >> tiling.log_phases >= units;
  }
  // From tile row `first` on.
  __device__ EvenUnits(const Tiling& tiling, const Tile& tile, int first, int units)
      : unit(threadIdx.x & (units - 1)), row(threadIdx.x >> log2_of(units)), stride(THREADS >> log2_of(units)) {
    const int in_tile = first + row, phase = tile.phase + (in_tile & ((1 << tiling.log_phases) - 1));
    const int step = tile.step + (in_tile >> tiling.log_phases);
    first_time = phase + int64_t(step) * tiling.dilation;
    steps_ = stride >> tiling.log_phases, step_ = step, t_ = static_cast<unsigned>(first_time);
    jump = int64_t(steps_) * tiling.dilation;
    last_ = phase < tiling.phases ? tiling.steps : 0, T_ = tiling.T;
  }
  __device__ bool in_clip() const { return step_ < last_ && t_ < T_; }
  __device__ int time() const { return in_clip() ? int(t_) : -1; }
  __device__ void next() { row += stride, step_ += steps_, t_ += static_cast<unsigned>(jump); }

  const int unit;
  int row;                   // from `first` on
  const int stride;          // to the thread's next row
  int64_t first_time, jump;  // of the first row; to the next one's

 private:
  unsigned step_, steps_, t_, last_, T_;
};

// Calls visit(row, unit, t) for rows first .. first + count, their times or -1, and `units` of 16 bytes of each.
template <int THREADS, class Visit>
__device__ inline void for_any_units(const Tiling& tiling, const Tile& tile, int first, int count, int units,
                                     Visit visit) {
#pragma unroll 1
  for (int i = threadIdx.x; i < count * units; i += THREADS) {
    const int row = first + i / units;
    visit(row, i % units, time_of(tiling, tile, row));
  }
}
template <int THREADS = kThreads, class Visit>
__device__ inline void for_each_unit(const Tiling& tiling, const Tile& tile, int first, int count, int units,
                                     Visit visit) {
  if (EvenUnits<THREADS>::are(tiling, units)) {
    EvenUnits<THREADS> at(tiling, tile, first, units);
#pragma unroll 2
    for (; at.row < count; at.next()) visit(first + at.row, at.unit, at.time());
  } else {
    for_any_units<THREADS>(tiling, tile, first, count, units, visit);
  }
}

// Starts copying `count` rows from tile row `first` on, `channels` of each (a multiple of 16 bytes), to shared
// memory.
template <class T, int THREADS = kThreads>
__device__ inline void load_rows(char* shared, int pitch, const Tiling& tiling, const Tile& tile, int first,
                                 int count, const Rows& from, int channels) {
  constexpr int kUnit = 16 / sizeof(T);
  const T* const clip = row_at<const T>(from, tile.b, 0);
  const int units = channels / kUnit;
  if (EvenUnits<THREADS>::are(tiling, units)) {
    EvenUnits<THREADS> at(tiling, tile, first, units);
    // Where a row isn't there, nothing is read.
    const T* source = clip + at.first_time * from.time_stride + at.unit * kUnit;
    const int64_t further = at.jump * from.time_stride;
    char* to = shared + at.row * pitch + at.unit * 16;
#pragma unroll 2
    for (; at.row < count; at.next(), source += further, to += at.stride * pitch) copy_async(to, source, at.in_clip());
  } else {
    for_any_units<THREADS>(tiling, tile, first, count, units, [&](int row, int unit, int t) {
      const T* const source = clip + (t < 0 ? 0 : t * from.time_stride) + unit * kUnit;
      copy_async(shared + (row - first) * pitch + unit * 16, source, t >= 0);
    });
  }
}

// Writes the tile's own rows from shared memory; row 0 of the tile is at `shared`.
template <class T, int THREADS = kThreads>
__device__ inline void store_rows(const char* shared, int pitch, const Tiling& tiling, const Tile& tile,
                                  const Rows& to, int channels) {
  constexpr int kUnit = 16 / sizeof(T);
  T* const clip = row_at<T>(to, tile.b, 0);
  const auto store = [&](int row, int unit, int t) {
    if (t >= 0)
      *reinterpret_cast<uint4*>(clip + t * to.time_stride + unit * kUnit) =
          *reinterpret_cast<const uint4*>(shared + row * pitch + unit * 16);
  };
  for_each_unit<THREADS>(tiling, tile, tiling.own_first, tiling.own_rows, channels / kUnit, store);
}

// A block's share of the tiles. load(tile, buffer) starts copying a tile's inputs, work(tile, buffer, next, follows)
// uses them; with two buffers, each of `bytes`, the next tile's arrive meanwhile. With one, and if a tile follows,
// `work` may begin to load it where it is done with the buffer. All threads of the block are in every call.
// ring: weights go round one, and the next tile's inputs come with the next slab, in its group of copies: as a group of
// their own they would be one more for which slabs wait.
template <class Load, class Work>
__device__ inline void for_each_tile(const Tiling& tiling, int buffers, bool ring, char* shared, int bytes, Load load,
                                     Work work) {
  Tile tile = tile_at(tiling, blockIdx.x);
  if (buffers == 2) {
    load(tile, shared);
    copy_async_commit();
  }
  int buffer = 0;
  for (unsigned index = blockIdx.x; index < unsigned(tiling.tiles); index += gridDim.x) {
    const Tile next = tile_at(tiling, index + gridDim.x);
    if (buffers == 1) {
      __syncthreads();  // the last tile is not read any more
      load(tile, shared);
      copy_async_commit();
    }
    copy_async_wait<0>();
    show_to_warpgroups();
    __syncthreads();  // the tile is here for everybody, and so are weights that stay; slabs of a ring have their own
    char* const here = shared + buffer * bytes;
    if (buffers == 2) {
      buffer ^= 1;
      if (index + gridDim.x < unsigned(tiling.tiles)) load(next, shared + buffer * bytes);
      if (!ring) copy_async_commit();
    }
    work(tile, here, next, buffers == 1 && index + gridDim.x < unsigned(tiling.tiles));
    tile = next;
  }
  copy_async_wait<0>();  // nothing may arrive after the block has ended, as slabs of a ring might
}

}  // namespace wavenet::cuda
