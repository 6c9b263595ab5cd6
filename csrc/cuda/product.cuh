// The matrix product that all kernels are made of: rows of activations in shared memory times a stream of weights.
//
//              contraction ->                         N columns
//        +--------------------+               +----+----+----+----+
//     M  |  tile of rows, any |       warps:  |    |    |    |    |   kRowWarps x kColumnWarps, a warp has kRows
//        |  offset for a tap  |               +----+----+----+----+   fragments of 16 rows and every kColumnWarps-th
//        +--------------------+               |    |    |    |    |   pair of groups of 16 columns
//                                             +----+----+----+----+
//
// On sm_90a tiles of 128 rows or more are multiplied by wgmma (wgmma.cuh): a warp has 16 rows, and all columns of them.
//
// Weights come as slabs of up to N rows (outputs) by 128 bytes of the contraction, in the order in which they are
// used (packing.h). Where a kernel's weights fit into shared memory they stay there; else they go round a ring.
#pragma once

#include "cuda/intrinsics.cuh"
#include "cuda/packing.h"
#include "cuda/tile_launch.h"
#ifdef WAVENET_WARPGROUPS
#include "cuda/wgmma.cuh"
#endif

namespace wavenet::cuda {

template <class T_, int M_, int N_>
struct Shape {
  using T = T_;
  static constexpr int M = M_, N = N_;
  static constexpr int kThreads = threads_of({M, N});
  WAVENET_BOTH static constexpr TileSize tile() { return {M, N}; }
  static constexpr int kStagesOfRing = stages_of({M, N});
#ifdef WAVENET_WARPGROUPS
  static constexpr bool kWarpgroups = M >= 128;  // multiply: a warp has 16 rows and all columns
#else
  static constexpr bool kWarpgroups = false;
#endif
  static constexpr int kColumnWarps = N == 32 || kWarpgroups ? 1 : M >= 128 ? 2 : 4;
  static constexpr int kRowWarps = kThreads / 32 / kColumnWarps;
  static constexpr int kRows = M / 16 / kRowWarps;       // fragments of a warp
  static constexpr int kGroups = N / 16 / kColumnWarps;  // of 16 columns, of a warp
  static_assert(M % (16 * kRowWarps) == 0 && kGroups % 2 == 0);
  // From a warp's first group to group g, of pairs of neighbours.
  WAVENET_BOTH static constexpr int groups_to(int g) { return g / 2 * kColumnWarps * 2 + g % 2; }
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
  // Groups of 16 columns of a slab, and pairs of them.
  __device__ int pair(int p) const { return column_warp + p * S::kColumnWarps; }
  __device__ int group(int g) const { return 2 * column_warp + S::groups_to(g); }
  // Of a row and group a thread has four neighbouring outputs (packing.h); the first of its first group's. Those of
  // group g are 16 S::groups_to(g) further on.
  __device__ int first_output() const { return column_warp * 32 + fourth(); }
  // The first of four, in a group.
  __device__ int fourth() const { return lane % 4 * 4; }
  // Bytes from the start of a tile to what this lane hands to load_matrices for its warp's first fragment.
  __device__ int fragment_offset(int pitch) const { return (row + lane % 16) * pitch + lane / 16 * 16; }
};

// Whether threads keep where their copies come from: without wgmma registers are too short.
#ifdef WAVENET_WARPGROUPS
constexpr bool kKeepsSource = true;
#else
constexpr bool kKeepsSource = false;
#endif

// The weights that a block uses, again and again in the same order. N: outputs of a slab, STAGES: slabs of a ring
// (stages_of()); 0 where only the launch knows.
template <int N, int THREADS = kThreads, int STAGES = kStages>
class Weights {
 public:
  // In a ring, of `stages` slabs, every slab takes the room of N outputs; else the slabs lie one after another.
  __device__ Weights(const char* packed, int bytes, bool ring, char* shared, int stages = kStages, int outputs = N)
      : packed_(packed),
        source_(packed + threadIdx.x * 16),
        shared_(shared),
        bytes_(bytes),
        slot_(outputs * kSlabBytes),
        ring_(ring),
        stages_(stages) {
    if (ring_) {
      for (int i = 0; i < this->stages() - 1; ++i) load();
    } else {
      for (int at = threadIdx.x * 16; at < bytes; at += THREADS * 16) copy_async(shared + at, packed + at, true);
      copy_async_commit();
    }
  }

  // The next slab, of `rows` rows; all threads of the block come here together. The first use of what does not go
  // round must come after a copy_async_wait<0>() and a __syncthreads(). refill() comes before the next one.
  // second: where slabs of half as many rows lie two by two (packing.h), the other one of the last two, in a ring.
  __device__ const char* next(int rows, bool second = false) {
    wait_for_next(second);
    const char* const slab = next_place(rows, second);
    meet(second);
    return slab;
  }

  // next() in three steps, so that the first two can be done during the products of the slab before: this thread's
  // copies are waited for; where the slab is; the others' copies are here, too, and all are done with the slab before.
  __device__ void wait_for_next(bool second = false) const {
    if (!ring_ || second) return;
    wait();
    show_to_warpgroups();
  }
  __device__ const char* next_place(int rows, bool second = false) {
    if (ring_ && second) return shared_ + at_ - slot() / 2;
    if (at_ == (ring_ ? stages() * slot() : bytes_)) at_ = 0;
    const char* const slab = shared_ + at_;
    at_ += ring_ ? slot() : rows * kSlabBytes;
    return slab;
  }
  __device__ void meet(bool second = false) const {
    if (ring_ && !second) __syncthreads();
  }

  // In a ring another slab is loaded to where the one before was.
  __device__ void refill(bool second = false) {
    if (ring_ && !second) load();
  }

  // Of a ring, for all copies that began before those of the slabs after the next one.
  __device__ void wait() const {
    if (STAGES) {
      copy_async_wait<(STAGES ? STAGES : kStages) - 2>();
    } else if (stages_ == kDeepStages) {
      copy_async_wait<kDeepStages - 2>();
    } else if (stages_ == kDeepStages - 1) {
      copy_async_wait<kDeepStages - 3>();
    } else {
      copy_async_wait<kStages - 2>();
    }
  }

 private:
  __device__ int stages() const { return STAGES ? STAGES : stages_; }
  __device__ int slot() const { return N ? N * kSlabBytes : slot_; }
  __device__ int after(int at) const { return at == (stages() - 1) * slot() ? 0 : at + slot(); }
  __device__ void load() {
    char* const to = shared_ + stage_;
    const char* from = kKeepsSource ? source_ : packed_ + loaded_ + threadIdx.x * 16;
    if constexpr (N > 0) {
#pragma unroll
      for (int at = 0; at < N * kSlabBytes; at += THREADS * 16)
        if (N * kSlabBytes - at >= THREADS * 16 || threadIdx.x * 16 + at < N * kSlabBytes)
          copy_async(to + threadIdx.x * 16 + at, from + at, true);
    } else {
      for (int at = threadIdx.x * 16; at < slot(); at += THREADS * 16, from += THREADS * 16)
        copy_async(to + at, from, true);
    }
    copy_async_commit();
    stage_ = after(stage_);
    loaded_ += slot();
    if (kKeepsSource) source_ += slot();
    if (loaded_ == bytes_) {
      loaded_ = 0;
      if (kKeepsSource) source_ -= bytes_;
    }
  }

  const char* packed_;
  const char* source_;  // of this thread's first 16 bytes of the next slab to load
  char* shared_;
  int bytes_, slot_;
  bool ring_;
  int stages_;
  int at_ = 0;                  // the next to use, in bytes, or where all of them end
  int stage_ = 0, loaded_ = 0;  // where the next to load goes, and where it comes from
};

// Where the bytes of a product's contraction lie, from a thread's first fragment on: `row` bytes, a power of two, side
// by side, and then those of other taps or layers, all as far from one another: the n-th are rows_to(n) rows of `pitch`
// bytes further on. That is asked again rather than kept: registers are short where there is no wgmma.
template <class RowsTo>
class Contraction {
 public:
  __device__ Contraction(int row, int pitch, RowsTo rows_to)
      : row_(row),
        log_(log2_of(row)),
        pitch_(pitch),
        rows_to_(rows_to) {}

  __device__ int operator()(int byte) const { return rows_to_(byte >> log_) * pitch_ + (byte & (row_ - 1)); }
  __device__ int row() const { return row_; }
  // From the end of a row to the next one.
  __device__ int jump() const { return rows_to_(1) * pitch_ - rows_to_(0) * pitch_ - row_; }

 private:
  int row_, log_, pitch_;
  RowsTo rows_to_;
};

// All of it side by side.
struct OneRow {
  __device__ int operator()(int byte) const { return byte; }
  __device__ int row() const { return 1 << 30; }
  __device__ int jump() const { return 0; }
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

// Sums of a thread's four channels of a pair of groups: of the filters (half 0) or gates of one of its two rows.
struct Pair {
  float (*sums)[2][4];
  __device__ float& at(int half, int row, int i) const { return sums[i / 2][half][2 * row + i % 2]; }
};
// The same of a group of a 1x1.
struct Group {
  float (*sums)[4];
  __device__ float& at(int row, int i) const { return sums[i / 2][2 * row + i % 2]; }
};

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
template <class S, int COUNT, int GROUPS, class Places>
__device__ inline void multiply_whole(Accumulators<S, GROUPS>& sums, const Place<S>& place, const char* slab,
                                      const char* tile, int pitch, int done, const Places& contraction) {
  using T = typename S::T;
  constexpr int kSteps = kSlabBytes / kStepBytes;
  const int line = place.lane % 8, part = place.lane / 8 % 2;
  slab += (16 * place.group(0) + place.lane / 16 * 8 + line) * kSlabBytes;
  uint32_t a[2][S::kRows][4], b[2][COUNT][4];
  const auto fetch = [&](int step) {
    const char* const from = tile + contraction(done + step * kStepBytes);
#pragma unroll
    for (int f = 0; f < S::kRows; ++f) {
      load_matrices(a[step % 2][f], from + f * 16 * pitch);
      round_fragment<T>(a[step % 2][f]);
    }
#pragma unroll
    for (int g = 0; g < COUNT; ++g)
      load_matrices(b[step % 2][g], slab + S::groups_to(g) * (16 * kSlabBytes) + ((step * 2 + part) ^ line) * 16);
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

#ifdef WAVENET_WARPGROUPS
// The rows' fragments of STEPS steps from byte `done` of the contraction on. whole: all are side by side, from `first`
// on.
template <class S, int STEPS, class Places>
__device__ inline void load_steps(uint32_t (&a)[STEPS][4], const char* tile, int done, int first,
                                  bool whole, const Places& contraction) {
  if (whole) {
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_matrices(a[step], tile + first + step * kStepBytes);
  } else {
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_matrices(a[step], tile + contraction(done + step * kStepBytes));
  }
#pragma unroll
  for (int step = 0; step < STEPS; ++step) round_fragment<typename S::T>(a[step]);
}

// Starts the products of a slab of COUNT groups.
template <class S, int COUNT, int STEPS, int GROUPS>
__device__ inline void start_products(Accumulators<S, GROUPS>& sums, const uint32_t (&a)[STEPS][4],
                                      uint64_t descriptor) {
  static_assert(S::kRows == 1);
  warpgroup_arrive();
#pragma unroll
  for (int step = 0; step < STEPS; ++step)
    warpgroup_multiply<typename S::T, COUNT * 16>(&sums[0][0][0][0], a[step], descriptor + step * kStepOfDescriptor);
  warpgroup_commit();
}

// multiply() as far as slabs have COUNT groups and all or half of 128 bytes of the contraction; returns how far. What
// the next slab takes is on its way during the products.
template <class S, int COUNT, bool PAIRS, int GROUPS, class W, class Places>
__device__ inline int multiply_by_warpgroups(Accumulators<S, GROUPS>& sums, W& weights, int rows, const char* tile,
                                             int bytes, const Places& contraction) {
  constexpr int kWhole = kSlabBytes / kStepBytes;
  int done = 0;
  if (bytes >= kSlabBytes) {
    // Two sets of registers take turns, as those of products under way must not be touched. Narrow slabs are in shared
    // memory already, mostly, and do with one; so do tall tiles, whose warps are more.
    constexpr bool kAhead = S::N == kWidestSlab && S::M <= kTall;
    uint32_t even[kWhole][4], odd[kWhole][4];
    // Where the next slab's rows are is found by addition, during the products; constants asked again would delay it.
    int first = contraction(0);
    const int in_row = kept(contraction.row() - 1), jump = kept(contraction.jump());
    weights.wait_for_next(false);
    const auto slab = [&](uint32_t(&a)[kWhole][4], uint32_t(&next)[kWhole][4]) {
      if constexpr (!kAhead) load_steps<S>(a, tile, done, first, in_row >= kSlabBytes - 1, contraction);
      const bool second = PAIRS && done & kSlabBytes;
      const uint64_t descriptor = slab_descriptor(shared_address(weights.next_place(rows, second)));
      weights.meet(second);
      start_products<S, COUNT>(sums, a, descriptor);
      weights.refill(second);
      done += kSlabBytes;
      const bool more = bytes - done >= kSlabBytes;
      if (more) {
        first += kSlabBytes + ((done & in_row) == 0 ? jump : 0);
        if constexpr (kAhead) load_steps<S>(next, tile, done, first, in_row >= kSlabBytes - 1, contraction);
        weights.wait_for_next(PAIRS && done & kSlabBytes);
      }
      warpgroup_wait();
      return more;
    };
    if constexpr (kAhead) {
      load_steps<S>(even, tile, done, first, in_row >= kSlabBytes - 1, contraction);
#pragma unroll 1
      while (slab(even, odd) && slab(odd, even)) {
      }
    } else {
#pragma unroll 1
      while (slab(even, even)) {
      }
    }
  }
  if (bytes - done == kSlabBytes / 2) {
    uint32_t a[kWhole / 2][4];
    const bool second = PAIRS && done & kSlabBytes;
    load_steps<S>(a, tile, done, contraction(done), contraction.row() >= kSlabBytes, contraction);
    start_products<S, COUNT>(sums, a, slab_descriptor(shared_address(weights.next(rows, second))));
    weights.refill(second);
    warpgroup_wait();
    done = bytes;
  }
  return done;
}
#endif

// sums += rows x weights, over `bytes` of the contraction. `tile` is where this lane's first fragment is, rows lie
// `pitch` apart. A group of a slab is 16 outputs,
// the slab has `rows`; sums of groups beyond them are not used. PAIRS: a slab of N / 2 outputs, whose groups lie where
// one of N has pairs, of filters and gates.
template <class S, int GROUPS, bool PAIRS, class W, class Places>
__device__ inline void multiply(Accumulators<S, GROUPS>& sums, const Place<S>& place, W& weights, int rows,
                                const char* tile, int pitch, int bytes, const Places& contraction) {
  using T = typename S::T;
  const int half = place.lane / 16, line = place.lane % 8, part = place.lane / 8 % 2;
  const int columns = rows - (PAIRS ? 16 : 32) * place.column_warp;  // of a slab, from this warp's first on
  int done = 0;
#ifdef WAVENET_WARPGROUPS
  if constexpr (S::kWarpgroups) {
    if (rows == GROUPS * 16) {
      done = multiply_by_warpgroups<S, GROUPS, PAIRS>(sums, weights, rows, tile, bytes, contraction);
    } else if constexpr (GROUPS > 1) {
      if (rows == GROUPS / 2 * 16)
        done = multiply_by_warpgroups<S, GROUPS / 2, PAIRS>(sums, weights, rows, tile, bytes, contraction);
    }
  }
#endif
  for (; done < bytes; done += kSlabBytes) {
    const bool second = PAIRS && done & kSlabBytes;
    const char* const slab = weights.next(rows, second);
    weights.refill(second);
    const int steps = columns > 0 ? min(bytes - done, kSlabBytes) / kStepBytes : 0;
    if constexpr (!PAIRS && !S::kWarpgroups) {
      const bool whole = steps == kSlabBytes / kStepBytes;
      constexpr auto end = [](int groups) { return (S::groups_to(groups - 1) + 1) * 16; };
      if (whole && columns >= end(GROUPS)) {
        multiply_whole<S, GROUPS>(sums, place, slab, tile, pitch, done, contraction);
        continue;
      }
      if constexpr (GROUPS % 4 == 0) {
        if (whole && columns >= end(GROUPS / 2) && columns <= S::groups_to(GROUPS / 2) * 16) {
          multiply_whole<S, GROUPS / 2>(sums, place, slab, tile, pitch, done, contraction);
          continue;
        }
      }
    }
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      const char* const from = tile + contraction(done + step * kStepBytes);
      uint32_t a[S::kRows][4];
#pragma unroll
      for (int f = 0; f < S::kRows; ++f) {
        load_matrices(a[f], from + f * 16 * pitch);
        round_fragment<T>(a[f]);
      }
#pragma unroll
      for (int g = 0; g < GROUPS; ++g) {
        int row = (PAIRS ? place.pair(g) : place.group(g)) * 16 + half * 8;
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
