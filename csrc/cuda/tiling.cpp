#include "cuda/tiling.h"

#include <algorithm>

namespace wavenet::cuda {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

Tiling tile(int64_t B, int64_t T, int64_t dilation, int rows, int above, int below, int loaded, int row_bytes) {
  Tiling best;
  double best_cost = 0;
  for (int log_phases = 0; (1 << log_phases) <= rows; ++log_phases) {
    Tiling t;
    const int P = 1 << log_phases;
    t.T = T, t.dilation = dilation, t.log_phases = log_phases;
    t.phases = std::min(dilation, T), t.steps = ceil_div(T, dilation);
    t.own_first = above * P, t.own_rows = rows - (above + below) * P;
    if (t.own_rows <= 0) break;
    t.phase_groups = ceil_div(t.phases, P);
    t.tiles_per_clip = t.phase_groups * ceil_div(t.steps, t.own_rows / P);
    t.tiles = B * t.tiles_per_clip;
    // Rows computed and loaded, and short runs in memory cost more than long ones.
    const double run = static_cast<double>(std::min<int64_t>(P, t.phases)) * row_bytes;
    const double cost = static_cast<double>(t.tiles_per_clip) * (rows + loaded * P) * (1 + 64 / run);
    if (best.tiles_per_clip == 0 || cost < best_cost) best = t, best_cost = cost;
  }
  return best;
}

}  // namespace wavenet::cuda
