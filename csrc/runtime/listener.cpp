#include "runtime/listener.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace wavenet::runtime {

ChunkedNetwork::ChunkedNetwork(const cpu::Isa& isa, const Network& net, int64_t window)
    : means_(isa, net), head_(isa, net), pooling_(isa, net, window), frame_(net.S) {}

void ChunkedNetwork::reset() {
  means_.reset(), head_.reset(), pooling_.reset();
  heard_all_ = false;
}

bool ChunkedNetwork::pool(const float* frame) {
  if (frame) pooling_.push(frame);
  return frame != nullptr;
}

bool ChunkedNetwork::next() {
  return means_.wanted() == 0 && means_.take(frame_.data()) && pool(head_.hear(frame_.data()));
}

bool ChunkedNetwork::next_at_end() {
  if (!heard_all_) {
    heard_all_ = true;
    if (means_.take(frame_.data()) && pool(head_.hear(frame_.data()))) return true;
  }
  while (!head_.ended()) {
    if (pool(head_.hear_end())) return true;
  }
  return false;
}

WholeWindows::WholeWindows(const cpu::Isa& isa, const Network& net, int64_t window)
    : net_(net),
      means_(isa, net),
      head_(isa, net),
      pooling_(isa, net, window),
      samples_(window * net.frame_samples()),
      heard_(window * net.frame_samples()),
      frames_(window * net.S) {}

void WholeWindows::hear(const float* samples, int64_t count) {
  if (newest_ == 0 && filled_ == static_cast<int64_t>(samples_.size())) {  // the oldest frame makes room
    filled_ -= net_.frame_samples();
    std::memmove(samples_.data(), samples_.data() + net_.frame_samples(), filled_ * sizeof(float));
  }
  std::memcpy(samples_.data() + filled_, samples, count * sizeof(float));
  filled_ += count, newest_ += count;
}

bool WholeWindows::next() {
  if (newest_ < net_.frame_samples()) return false;
  newest_ = 0;
  return true;
}

bool WholeWindows::next_at_end() {
  const bool some = newest_ > 0;
  newest_ = 0;
  return some;
}

// As normalize_level of wavenet.networks.clip_norm.
void WholeWindows::normalise_level() {
  double mean = 0, power = 0;
  for (int64_t t = 0; t < filled_; ++t) mean += samples_[t];
  mean /= static_cast<double>(filled_);
  for (int64_t t = 0; t < filled_; ++t) power += (samples_[t] - mean) * (samples_[t] - mean);
  power /= static_cast<double>(filled_);
  const double scale = net_.level / std::sqrt(power + net_.silence * net_.silence);
  for (int64_t t = 0; t < filled_; ++t) heard_[t] = static_cast<float>((samples_[t] - mean) * scale);
}

// As normalize_frames of it.
void WholeWindows::normalise_frames(int64_t frames) {
  for (int64_t c = 0; c < net_.S; ++c) {
    double mean = 0, variance = 0;
    for (int64_t f = 0; f < frames; ++f) mean += frames_[f * net_.S + c];
    mean /= static_cast<double>(frames);
    for (int64_t f = 0; f < frames; ++f) {
      const double centred = frames_[f * net_.S + c] - mean;
      variance += centred * centred;
    }
    const double scale = 1 / std::sqrt(variance / static_cast<double>(frames) + net_.flat_variance);
    for (int64_t f = 0; f < frames; ++f) {
      float& value = frames_[f * net_.S + c];
      value = static_cast<float>((value - mean) * scale);
    }
  }
}

void WholeWindows::pooled(float* to) {
  normalise_level();
  means_.reset(), head_.reset(), pooling_.reset();
  int64_t frames = 0;
  for (int64_t at = 0, n; at < filled_; at += n) {
    n = std::min(means_.wanted(), filled_ - at);
    means_.hear(heard_.data() + at, n);
    if (means_.wanted() == 0) means_.take(frames_.data() + frames++ * net_.S);
  }
  if (means_.take(frames_.data() + frames * net_.S)) ++frames;
  normalise_frames(frames);
  for (int64_t f = 0; f < frames; ++f) {
    if (const float* frame = head_.hear(frames_.data() + f * net_.S)) pooling_.push(frame);
  }
  while (!head_.ended()) {
    if (const float* frame = head_.hear_end()) pooling_.push(frame);
  }
  pooling_.pooled(to);
}

}  // namespace wavenet::runtime
