// What a frame says: the mean over its steps. Apart, to be compiled for speed.
#pragma once

#include <cstdint>

namespace wavenet::runtime {

// Of rows (steps, channels), negative values as zero.
void mean_of_positive(const float* rows, int64_t steps, int64_t channels, float* means);

}  // namespace wavenet::runtime
