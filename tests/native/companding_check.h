// Mu-law companding against the formula in double precision.
#pragma once

#include <cmath>
#include <vector>

#include "cpu/isa.h"

namespace wavenet {

// The largest error of samples in and beyond [-1, 1], of all magnitudes, in units of their own rounding; infinite where a
// sign is lost.
inline double companding_error(const cpu::Isa& isa) {
  constexpr float mu = 255;
  std::vector<float> samples = {0.0f, -0.0f, 1.0f, -1.0f, 7.0f, -7.0f};
  for (int i = 0; i <= 20001; ++i) {
    samples.push_back(static_cast<float>(i - 10000) * 1.1e-4f);
    samples.push_back(std::ldexp(1.0f + static_cast<float>(i % 89) / 89.0f, -(i % 120)));
  }
  const int64_t count = static_cast<int64_t>(samples.size());  // no whole number of vectors
  std::vector<float> made(samples.size());
  isa.of_float->sample->compand(samples.data(), count, mu, made.data());
  double worst = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double clipped = std::fmin(1, std::fmax(-1, static_cast<double>(samples[i])));
    const double expected = std::copysign(std::log1p(mu * std::fabs(clipped)) / std::log1p(mu), clipped);
    if (std::signbit(made[i]) != std::signbit(samples[i])) return INFINITY;
    if (expected != 0) worst = std::fmax(worst, std::fabs(made[i] / expected - 1) / 0x1p-24);
  }
  return worst;
}

}  // namespace wavenet
