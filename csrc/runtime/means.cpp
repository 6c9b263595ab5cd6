#include "runtime/means.h"

#include <algorithm>

namespace wavenet::runtime {

void mean_of_positive(const float* rows, int64_t steps, int64_t channels, float* means) {
  std::fill(means, means + channels, 0.0f);
  for (int64_t t = 0; t < steps; ++t, rows += channels) {
    for (int64_t c = 0; c < channels; ++c) means[c] += rows[c] < 0.0f ? 0.0f : rows[c];  // NaN stays
  }
  for (int64_t c = 0; c < channels; ++c) means[c] /= static_cast<float>(steps);
}

}  // namespace wavenet::runtime
