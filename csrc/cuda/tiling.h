// How a clip is cut into tiles (tile.cuh), decided on the host and read by the kernels.
#pragma once

#include <cstdint>

namespace wavenet::cuda {

struct Tiling {
  int64_t T = 0, dilation = 1;  // the base dilation
  int64_t phases = 0;           // that have rows: min(dilation, T)
  int64_t steps = 0;            // of the longest phase
  int64_t phase_groups = 0, tiles_per_clip = 0, tiles = 0;
  int log_phases = 0;               // P = 2^log_phases of them in a tile
  int own_first = 0, own_rows = 0;  // rows of a tile that are its own

  int P() const { return 1 << log_phases; }
};

// Tiles of `rows` rows over B clips of T. The halo is in steps: `above` and `below` are rows of the tile that are not
// its own, `loaded` rows read beyond it. `row_bytes` is what lies side by side in memory. `tiles` is 0 if a tile has
// no room for its halo.
Tiling tile(int64_t B, int64_t T, int64_t dilation, int rows, int above, int below, int loaded, int row_bytes);

}  // namespace wavenet::cuda
