// How a layer is cut into tiles of units (units.h).
#pragma once

#include <algorithm>

#include "cpu/isa.h"
#include "cpu/units.h"

namespace wavenet::cpu {

// Rows of a tile: its inputs and what is made of them, and the panel in use, stay in L2. From 48 to 192 rows it makes
// no more than 5 % of difference (Zen 5, the workloads of benchmarks/, forward and backward).
constexpr int64_t kTileRows = 96;

// Tiles of one clip, of equal size but for the last; smaller than kTileRows where that keeps threads busy.
struct Tiling {
  int64_t units, clip_units, per_clip, count;

  Tiling(const Kernels& kernels, const Layer& l, int threads, int64_t rows = kTileRows) : clip_units(unit_count(l)) {
    const int64_t share = (l.B * clip_units + threads - 1) / threads;
    units = std::max<int64_t>(1, std::min({rows / rows_per_unit(l), clip_units, share}));
    per_clip = (clip_units + units - 1) / units;
    units = (clip_units + per_clip - 1) / per_clip;  // as even as whole blocks allow
    units = (units + kernels.block_rows - 1) / kernels.block_rows * kernels.block_rows;
    per_clip = (clip_units + units - 1) / units;
    count = per_clip * l.B;
  }

  int64_t clip(int64_t tile) const { return tile / per_clip; }
  int64_t begin(int64_t tile) const { return tile % per_clip * units; }
  int64_t end(int64_t tile) const { return std::min(begin(tile) + units, clip_units); }
};

// Threads that are worth waking: each should have some microseconds of work between two waits for the others.
inline int useful_threads(const Layer& l, int threads) {
  constexpr double kShare = 3e5;  // floating-point operations
  const double rows = static_cast<double>(l.B) * static_cast<double>(l.T);
  const double each = static_cast<double>(2 * l.K * l.R * l.C + 2 * l.D * (l.R + l.S) + 60 * l.D);
  return static_cast<int>(std::clamp(rows * each / kShare, 1.0, static_cast<double>(std::max(threads, 1))));
}

}  // namespace wavenet::cpu
