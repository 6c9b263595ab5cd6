// How a clip is cut into tiles (tile.cuh), decided on the host and read by the kernels.
#pragma once

#include <cstdint>
#include <limits>

#include "cuda/both.h"

namespace wavenet::cuda {

struct Tiling {
  int T = 0;
  int dilation = 1;  // the base dilation, at most T
  int phases = 0;    // that have rows: as many
  int steps = 0;     // of the longest phase
  int phase_groups = 0, tiles_per_clip = 0, tiles = 0;
  int log_phases = 0;               // P = 2^log_phases of them in a tile
  int own_first = 0, own_rows = 0;  // rows of a tile that are its own

  WAVENET_BOTH int P() const { return 1 << log_phases; }
};

// Tiles of `rows` rows over B clips of T. The halo is in steps: `above` and `below` are rows of the tile that are not
// its own, `loaded` rows read beyond it. `row_bytes` is what lies side by side in memory. A tile has `most_phases` at
// most. `tiles` is 0 if a tile has no room for its halo. Throws std::invalid_argument where times or tiles don't fit
// into 31 bits, in which kernels count them.
Tiling tile(int64_t B, int64_t T, int64_t dilation, int rows, int above, int below, int loaded, int row_bytes,
            int most_phases = std::numeric_limits<int>::max());

}  // namespace wavenet::cuda
