#include "runtime/pooling.h"

#include <algorithm>
#include <cmath>

namespace wavenet::runtime {

Pooling::Pooling(const cpu::Isa& isa, const Network& net, int64_t window)
    : kind_(net.pooling),
      channels_(net.pooled_channels()),
      window_(window),
      frames_(window * channels_),
      scores_(window),
      sums_(channels_) {
  if (kind_ == PoolingKind::attention) score_ = std::make_unique<Convolution>(isa, net.score, 1);
}

void Pooling::reset() { pushed_ = 0; }

void Pooling::add(const float* frame, double weight, double* sums) const {
  if (kind_ == PoolingKind::max) {
    for (int64_t c = 0; c < channels_; ++c) sums[c] = std::max<double>(sums[c], frame[c]);
  } else {
    for (int64_t c = 0; c < channels_; ++c) sums[c] += weight * frame[c];
  }
}

void Pooling::push(const float* frame) {
  float score = 0;
  if (score_) score_->run(frame, channels_, 1, &score);
  if (window_ > 0) {
    const int64_t at = pushed_++ % window_;
    std::copy(frame, frame + channels_, frames_.begin() + at * channels_);
    scores_[at] = score;
    return;
  }
  if (pushed_++ == 0) {
    std::fill(sums_.begin(), sums_.end(), kind_ == PoolingKind::max ? -INFINITY : 0.0);
    weight_ = 0, highest_ = score;
  }
  if (score > highest_) {
    const double faded = std::exp(highest_ - score);
    for (double& sum : sums_) sum *= faded;
    weight_ *= faded, highest_ = score;
  }
  const double weight = std::exp(score - highest_);
  add(frame, weight, sums_.data());
  weight_ += weight;
}

void Pooling::pooled(float* to) const {
  double total = weight_;
  if (window_ > 0) {
    const int64_t count = std::min(pushed_, window_);
    const float highest = *std::max_element(scores_.begin(), scores_.begin() + count);
    std::fill(sums_.begin(), sums_.end(), kind_ == PoolingKind::max ? -INFINITY : 0.0);
    total = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double weight = std::exp(static_cast<double>(scores_[i]) - highest);
      add(frames_.data() + i * channels_, weight, sums_.data());
      total += weight;
    }
  }
  if (kind_ == PoolingKind::max) total = 1;
  for (int64_t c = 0; c < channels_; ++c) to[c] = static_cast<float>(sums_[c] / total);
}

}  // namespace wavenet::runtime
