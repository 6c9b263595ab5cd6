#include "cuda/tiling.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace wavenet::cuda {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

Tiling tile(int64_t B, int64_t T, int64_t dilation, int rows, int above, int below, int loaded, int row_bytes,
            int most_phases) {
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  if (T > kMost) throw std::invalid_argument("a clip of 2^31 times or more");
  dilation = std::min(dilation, std::max<int64_t>(T, 1));
  Tiling best;
  bool too_many = false;
  double best_cost = 0;
  for (int log_phases = 0; rows % (1 << log_phases) == 0 && 1 << log_phases <= most_phases; ++log_phases) {
    Tiling t;
    const int P = 1 << log_phases;
    t.T = static_cast<int>(T), t.dilation = static_cast<int>(dilation), t.log_phases = log_phases;
    t.phases = std::min(t.dilation, t.T), t.steps = static_cast<int>(ceil_div(T, dilation));
    t.own_first = above * P, t.own_rows = rows - (above + below) * P;
    if (t.own_rows <= 0) break;
    t.phase_groups = static_cast<int>(ceil_div(t.phases, P));
    const int64_t in_clip = t.phase_groups * ceil_div(t.steps, t.own_rows / P);
    if (B * in_clip > kMost) {
      too_many = true;
      continue;
    }
    t.tiles_per_clip = static_cast<int>(in_clip), t.tiles = static_cast<int>(B * in_clip);
    // Rows computed and loaded, and short runs in memory cost more than long ones.
    const double run = static_cast<double>(std::min(P, t.phases)) * row_bytes;
    const double cost = static_cast<double>(t.tiles_per_clip) * (rows + loaded * P) * (1 + 32 / run);
    if (best.tiles_per_clip == 0 || cost < best_cost) best = t, best_cost = cost;
  }
  if (too_many && best.tiles_per_clip == 0) throw std::invalid_argument("clips of 2^31 tiles or more");
  return best;
}

}  // namespace wavenet::cuda
