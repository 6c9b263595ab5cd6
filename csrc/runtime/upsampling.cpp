#include "runtime/upsampling.h"

#include <algorithm>

namespace wavenet::runtime {

bool Upsampling::linear() const {
  const auto unbiased = [](const Stage& stage) { return stage.bias == 0; };
  return !stages.empty() && channel_taps == 1 && slope == 1 && std::all_of(stages.begin(), stages.end(), unbiased);
}

void Upsampling::run(const Stage& stage, const float* x, int64_t frames, int64_t channels, float* y) const {
  const int64_t M = channels;
  for (int64_t t = 0; t < frames * stage.scale; ++t, y += M) {
    const int64_t frame = t / stage.scale;
    std::fill(y, y + M, stage.bias);
    for (int64_t tap = 0; tap < channel_taps; ++tap) {
      const int64_t shift = tap - channel_taps / 2;
      const int64_t first = std::max<int64_t>(0, -shift), last = std::min(M, M - shift);
      for (int64_t n = -1; n <= 1; ++n) {
        if (frame + n < 0 || frame + n >= frames) continue;
        const float weight = stage.weight[(tap * 3 + n + 1) * stage.scale + t % stage.scale];
        const int64_t from = (frame + n) * M + shift;
        for (int64_t m = first; m < last; ++m) y[m] += weight * x[from + m];
      }
    }
    for (int64_t m = 0; m < M; ++m) y[m] = y[m] < 0 ? slope * y[m] : y[m];
  }
}

// So many channels at a time that the frames stay in the cache.
void mix(const float* factors, int64_t around, const float* frames, int64_t channels, int64_t count, float* rows) {
  constexpr int64_t kChannels = 1024;
  for (int64_t c = 0; c < channels; c += kChannels) {
    const int64_t some = std::min(kChannels, channels - c);
    for (int64_t t = 0; t < count; ++t) {
      float* row = rows + t * channels + c;
      std::fill(row, row + some, 0.0f);
      for (int64_t f = 0; f < around; ++f) {
        const float factor = factors[t * around + f];
        const float* from = frames + f * channels + c;
        for (int64_t i = 0; i < some; ++i) row[i] += factor * from[i];
      }
    }
  }
}

}  // namespace wavenet::runtime
