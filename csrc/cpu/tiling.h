// How a layer's rows are cut into tiles.
#pragma once

#include <algorithm>

#include "cpu/isa.h"

namespace wavenet::cpu {

// Rows of a tile: z, x and the panel in use together stay in a 256 KiB L2 up to about 128 channels.
constexpr int64_t kTileRows = 96;

// Tiles of one clip, of equal size but for the last; smaller than kTileRows where that keeps threads busy.
struct Tiling {
  int64_t rows, per_clip, count;

  Tiling(const Isa& isa, const Layer& l, int threads) {
    const int64_t share = (l.B * l.T + threads - 1) / threads;
    rows = std::max<int64_t>(1, std::min({kTileRows, l.T, share}));
    rows = (rows + isa.block_rows - 1) / isa.block_rows * isa.block_rows;
    per_clip = (l.T + rows - 1) / rows;
    count = per_clip * l.B;
  }

  int64_t clip(int64_t tile) const { return tile / per_clip; }
  int64_t begin(int64_t tile) const { return tile % per_clip * rows; }
  int64_t end(int64_t tile, const Layer& l) const { return std::min(begin(tile) + rows, l.T); }
};

}  // namespace wavenet::cpu
