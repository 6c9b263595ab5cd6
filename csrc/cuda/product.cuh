// The matrix product that all kernels are made of: rows of activations in shared memory times a stream of weights.
//
//              contraction ->                         N columns
//        +--------------------+               +----+----+----+----+
//     M  |  tile of rows, any |       warps:  |    |    |    |    |   kRowWarps x kColumnWarps, a warp has kRows
//        |  offset for a tap  |               +----+----+----+----+   fragments of 16 rows and every kColumnWarps-th
//        +--------------------+               |    |    |    |    |   group of 16 columns
//                                             +----+----+----+----+
//
// Weights come as slabs of up to N rows (outputs) by 128 bytes of the contraction, in the order in which they are
// used (packing.h). Where a kernel's weights fit into shared memory they stay there; else they go round a ring.
#pragma once

#include "cuda/intrinsics.cuh"
#include "cuda/packing.h"
#include "cuda/tile_launch.h"

namespace wavenet::cuda {

// Of a power of two.
__device__ inline int log2_of(int v) {
  int log = 0;
  while (1 << log < v) ++log;
  return log;
}

template <class T_, int M_, int N_>
struct Shape {
  using T = T_;
  static constexpr int M = M_, N = N_;
  WAVENET_BOTH static constexpr TileSize tile() { return {M, N}; }
  static constexpr int kColumnWarps = N == 32 ? 1 : M == 128 ? 2 : 4;
  static constexpr int kRowWarps = kThreads / 32 / kColumnWarps;
  static constexpr int kRows = M / 16 / kRowWarps;       // fragments of a warp
  static constexpr int kGroups = N / 16 / kColumnWarps;  // of 16 columns, of a warp
  static_assert(M % (16 * kRowWarps) == 0 && kGroups % 2 == 0);
  // From a warp's first outputs to those of half a group of 16.
  WAVENET_BOTH static constexpr int outputs_to(int g, int half) { return g * kColumnWarps * 16 + half * 8; }
};

// Where a thread stands: its warp's rows and columns, and its own in the fragments of mma.
template <class S>
struct Place {
  int lane, row, column_warp;

  __device__ Place() {
    const int warp = threadIdx.x / 32;
    lane = threadIdx.x % 32;
    row = warp / S::kColumnWarps * (16 * S::kRows);
    column_warp = warp % S::kColumnWarps;
  }
  // Of accumulator element i of fragment f: row in the tile.
  __device__ int row_of(int f, int i) const { return row + f * 16 + lane / 4 + i / 2 * 8; }
  // The first of its two columns within 8.
  __device__ int column() const { return lane % 4 * 2; }
  __device__ int group(int g) const { return g * S::kColumnWarps + column_warp; }
  // The first of its outputs in a slab; the others are S::outputs_to() further on.
  __device__ int first_output() const { return column_warp * 16 + column(); }
  // Bytes from the start of a tile to what this lane hands to load_matrices for its warp's first fragment.
  __device__ int fragment_offset(int pitch) const { return (row + lane % 16) * pitch + lane / 16 * 16; }
};

// The weights that a block uses, again and again in the same order.
class Weights {
 public:
  // In a ring every slab takes the room of N outputs; else the slabs lie one after another.
  __device__ Weights(const char* packed, int bytes, int N, bool ring, char* shared)
      : packed_(packed), shared_(shared), bytes_(bytes), slot_(N * kSlabBytes), ring_(ring) {
    if (ring_) {
      for (int i = 0; i < kStages - 1; ++i) load();
    } else {
      copy(shared_, packed_, bytes_);
      copy_async_commit();
    }
  }

  // The next slab, of `rows` rows; all threads of the block come here together. The first use of what does not go
  // round must come after a copy_async_wait<0>() and a __syncthreads().
  __device__ const char* next(int rows) {
    if (!ring_) {
      const char* slab = shared_ + at_;
      at_ += rows * kSlabBytes;
      if (at_ == bytes_) at_ = 0;
      return slab;
    }
    copy_async_wait<kStages - 2>();
    __syncthreads();  // the slab is here for everybody, and everybody is done with the one before
    load();
    const char* slab = shared_ + at_ * slot_;
    at_ = at_ + 1 == kStages ? 0 : at_ + 1;
    return slab;
  }

 private:
  __device__ void load() {
    copy(shared_ + stage_ * slot_, packed_ + loaded_, slot_);
    copy_async_commit();
    stage_ = stage_ + 1 == kStages ? 0 : stage_ + 1;
    loaded_ = loaded_ + slot_ == bytes_ ? 0 : loaded_ + slot_;
  }
  __device__ static void copy(char* to, const char* from, int bytes) {
    for (int at = threadIdx.x * 16; at < bytes; at += kThreads * 16) copy_async(to + at, from + at, true);
  }

  const char* packed_;
  char* shared_;
  int bytes_, slot_;
  bool ring_;
  int at_ = 0;                  // next to use: byte, or stage of the ring
  int stage_ = 0, loaded_ = 0;  // next to load
};

template <class T>
__device__ inline void round_fragment(uint32_t (&fragment)[4]) {
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (uint32_t& word : fragment) word = round_tf32(word);
  }
}

template <class S, int GROUPS>
using Accumulators = float[S::kRows][GROUPS][2][4];

template <class S, int GROUPS>
__device__ inline void clear(Accumulators<S, GROUPS>& sums) {
#pragma unroll
  for (auto& row : sums)
#pragma unroll
    for (auto& group : row)
#pragma unroll
      for (auto& half : group)
#pragma unroll
        for (float& v : half) v = 0;
}

// One slab of multiply(), of all 128 bytes of the contraction and COUNT groups of every warp: nothing to ask, and
// fragments are loaded a step ahead.
template <class S, int COUNT, int GROUPS, class Offset>
__device__ inline void multiply_whole(Accumulators<S, GROUPS>& sums, const Place<S>& place, const char* slab,
                                      const char* tile, int pitch, int done, Offset offset) {
  using T = typename S::T;
  constexpr int kSteps = kSlabBytes / kStepBytes;
  const int line = place.lane % 8, part = place.lane / 8 % 2;
  slab += (16 * place.group(0) + place.lane / 16 * 8 + line) * kSlabBytes;
  uint32_t a[2][S::kRows][4], b[2][COUNT][4];
  const auto fetch = [&](int step) {
    const char* const from = tile + offset(done + step * kStepBytes);
#pragma unroll
    for (int f = 0; f < S::kRows; ++f) {
      load_matrices(a[step % 2][f], from + f * 16 * pitch);
      round_fragment<T>(a[step % 2][f]);
    }
#pragma unroll
    for (int g = 0; g < COUNT; ++g)
      load_matrices(b[step % 2][g], slab + g * (16 * S::kColumnWarps * kSlabBytes) + ((step * 2 + part) ^ line) * 16);
  };
  fetch(0);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    if (step + 1 < kSteps) fetch(step + 1);
#pragma unroll
    for (int g = 0; g < COUNT; ++g) {
#pragma unroll
      for (int f = 0; f < S::kRows; ++f) {
        mma<T>(sums[f][g][0], a[step % 2][f], b[step % 2][g][0], b[step % 2][g][1]);
        mma<T>(sums[f][g][1], a[step % 2][f], b[step % 2][g][2], b[step % 2][g][3]);
      }
    }
  }
}

// sums += rows x weights, over `bytes` of the contraction. `tile` is where this lane's first fragment is, rows lie
// `pitch` apart, and offset(c) says how far from there byte c of the contraction is. A group of a slab is 16 outputs,
// the slab has `rows`; sums of groups beyond them are not used. PAIRS: a group is two of the warp's blocks of 8 outputs
// instead, so that columns of a slab of N / 2 outputs lie where a slab of N has its pairs of filter and gate.
template <class S, int GROUPS, bool PAIRS, class Offset>
__device__ inline void multiply(Accumulators<S, GROUPS>& sums, const Place<S>& place, Weights& weights, int rows,
                                const char* tile, int pitch, int bytes, Offset offset) {
  using T = typename S::T;
  constexpr int kRowsOfGroups = 16 * S::kColumnWarps;
  const int half = place.lane / 16, line = place.lane % 8, part = place.lane / 8 % 2;
  for (int done = 0; done < bytes; done += kSlabBytes) {
    const char* const slab = weights.next(rows);
    const int steps = min(bytes - done, kSlabBytes) / kStepBytes;
    if constexpr (!PAIRS) {
      if (steps == kSlabBytes / kStepBytes && rows == GROUPS * kRowsOfGroups) {
        multiply_whole<S, GROUPS>(sums, place, slab, tile, pitch, done, offset);
        continue;
      }
      if (steps == kSlabBytes / kStepBytes && rows == GROUPS / 2 * kRowsOfGroups) {
        multiply_whole<S, GROUPS / 2>(sums, place, slab, tile, pitch, done, offset);
        continue;
      }
    }
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      const char* const from = tile + offset(done + step * kStepBytes);
      uint32_t a[S::kRows][4];
#pragma unroll
      for (int f = 0; f < S::kRows; ++f) {
        load_matrices(a[f], from + f * 16 * pitch);
        round_fragment<T>(a[f]);
      }
#pragma unroll
      for (int g = 0; g < GROUPS; ++g) {
        int row = PAIRS ? (place.group(2 * g) + half * S::kColumnWarps) * 8 : place.group(g) * 16 + half * 8;
        if (row >= rows) row = 0;  // a block that is not there
        uint32_t b[4];
        load_matrices(b, slab + (row + line) * kSlabBytes + ((step * 2 + part) ^ line) * 16);
#pragma unroll
        for (int f = 0; f < S::kRows; ++f) {
          mma<T>(sums[f][g][0], a[f], b[0], b[1]);
          mma<T>(sums[f][g][1], a[f], b[2], b[3]);
        }
      }
    }
  }
}

}  // namespace wavenet::cuda
