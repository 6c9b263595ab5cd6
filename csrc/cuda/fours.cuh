// Rows in memory as a thread has them of its sums: of each of its rows and groups of outputs four neighbouring channels
// (packing.h), read and written as one access. Four threads together have whole sectors.
#pragma once

#include "cuda/product.cuh"
#include "cuda/tile.cuh"
#include "cuda/vector.cuh"

namespace wavenet::cuda {

// Calls visit(f, row, g, at, there) for row 0 and 1 of fragment f and group g: `at` is where its four channels are, of
// a product's outputs `first` and on, of `channels`. They are `there` if the row is the tile's own and in the clip.
// Asked for with branches, compilers take the accesses apart.
template <class S, class Visit>
__device__ inline void for_each_four(const Tiling& tiling, const Tile& tile, const Place<S>& place, const Rows& rows,
                                     int first, int channels, Visit visit) {
  using T = typename S::T;
  const int left = channels - first - place.first_output();
#pragma unroll
  for (int f = 0; f < S::kRows; ++f) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int r = place.row_of(f, 2 * row), t = time_of(tiling, tile, r) | (is_own(tiling, r) ? 0 : -1);
      T* const at = row_at<T>(rows, tile.b, max(t, 0)) + first + place.first_output();
#pragma unroll
      for (int g = 0; g < S::kGroups; ++g) {
        const int further = S::groups_to(g) * 16;
        visit(f, row, g, at + further, t >= 0 && further < left);
      }
    }
  }
}

// All of a thread's, on their way while it multiplies.
template <class S>
class Fours {
  using T = typename S::T;

 public:
  __device__ void load(const Tiling& tiling, const Tile& tile, const Place<S>& place, const Rows& rows, int first,
                       int channels) {
    for_each_four(tiling, tile, place, rows, first, channels, [&](int f, int row, int g, const T* at, bool there) {
      if (there) whole_[f][row][g] = load_whole<T, 4>(at);
    });
  }
  __device__ void add_to(Accumulators<S, S::kGroups>& sums, float scale) const {
#pragma unroll
    for (int f = 0; f < S::kRows; ++f)
#pragma unroll
      for (int row = 0; row < 2; ++row)
#pragma unroll
        for (int g = 0; g < S::kGroups; ++g) {
          const Floats<4> v = to_floats<T, 4>(whole_[f][row][g]);
#pragma unroll
          for (int i = 0; i < 4; ++i) Group{sums[f][g]}.at(row, i) += scale * v.values[i];
        }
  }

 private:
  Whole<T, 4> whole_[S::kRows][2][S::kGroups] = {};
};

// Writes a thread's sums.
template <class S>
__device__ inline void store_fours(const Tiling& tiling, const Tile& tile, const Place<S>& place, const Rows& rows,
                                   int first, int channels, Accumulators<S, S::kGroups>& sums) {
  using T = typename S::T;
  for_each_four(tiling, tile, place, rows, first, channels, [&](int f, int row, int g, T* at, bool there) {
    const Group group{sums[f][g]};
    if (there) store<T, 4>(at, Floats<4>{{group.at(row, 0), group.at(row, 1), group.at(row, 2), group.at(row, 3)}});
  });
}

}  // namespace wavenet::cuda
