#include "runtime/classifier.h"

#include <algorithm>
#include <cmath>

namespace wavenet::runtime {

namespace {

std::unique_ptr<Listener> listener_of(const cpu::Isa& isa, const Network& net, int64_t window) {
  if (net.clip_norm) return std::make_unique<WholeWindows>(isa, net, window);
  return std::make_unique<ChunkedNetwork>(isa, net, window);
}

}  // namespace

Classifier::Classifier(const cpu::Isa& isa, const Network& net, int64_t window, int64_t hop)
    : net_(net),
      window_(window),
      hop_(hop),
      listener_(listener_of(isa, net, window)),
      last_(isa, net.classifier, 1),
      pooled_(net.pooled_channels()),
      logits_(net.labels.size()),
      probabilities_(net.labels.size()) {
  reset();
}

void Classifier::reset() {
  listener_->reset();
  samples_ = frames_ = decided_ = 0;
  waiting_ = finished_ = ended_ = false;
}

int64_t Classifier::push(const float* samples, int64_t count) {
  if (finished_) return 0;
  int64_t taken = 0;
  while (taken < count && !waiting_) {
    const int64_t n = std::min(count - taken, listener_->wanted());
    listener_->hear(samples + taken, n);
    taken += n, samples_ += n;
    if (listener_->next()) count_frame();
  }
  return taken;
}

bool Classifier::read(Decision& decision) {
  while (finished_ && !ended_ && !waiting_) {
    if (listener_->next_at_end()) {
      count_frame();
    } else {
      ended_ = true;
      if (frames_ > decided_) decide();
    }
  }
  if (!waiting_) return false;
  waiting_ = false;
  const auto best = std::max_element(logits_.begin(), logits_.end()) - logits_.begin();
  decision = {start_, end_, logits_.data(), probabilities_.data(), static_cast<int64_t>(best)};
  return true;
}

void Classifier::count_frame() {
  if (++frames_ == decided_ + hop_) decide();
}

void Classifier::decide() {
  waiting_ = true, decided_ = frames_;
  listener_->pooled(pooled_.data());
  last_.run(pooled_.data(), net_.pooled_channels(), 1, logits_.data());
  const float highest = *std::max_element(logits_.begin(), logits_.end());
  double total = 0;
  for (const float logit : logits_) total += std::exp(static_cast<double>(logit) - highest);
  for (std::size_t i = 0; i < logits_.size(); ++i) {
    probabilities_[i] = static_cast<float>(std::exp(static_cast<double>(logits_[i]) - highest) / total);
  }
  const int64_t size = net_.frame_samples(), first = window_ == 0 ? 0 : std::max<int64_t>(0, frames_ - window_);
  int64_t end = frames_ * size;
  if (finished_) end = std::min(end, samples_);  // the signal's last frame may be a short one
  start_ = static_cast<double>(first * size) / net_.sample_rate;
  end_ = static_cast<double>(end) / net_.sample_rate;
}

}  // namespace wavenet::runtime
