// How a network gets from samples to the frames that a decision is about.
#pragma once

#include <vector>

#include "runtime/frames.h"
#include "runtime/pooling.h"

namespace wavenet::runtime {

class Listener {
 public:
  virtual ~Listener() = default;
  virtual void reset() = 0;

  virtual int64_t wanted() const = 0;                        // samples until there may be a frame, at least 1
  virtual void hear(const float* samples, int64_t count) = 0;  // of those
  virtual bool next() = 0;                                   // takes the frame that is there, if one is
  virtual bool next_at_end() = 0;                            // the same at the signal's end; false: that was all

  // The last window's frames, pooled: at least one was taken.
  virtual void pooled(float* to) = 0;
};

// Every sample is computed on once, however much windows overlap.
class ChunkedNetwork : public Listener {
 public:
  ChunkedNetwork(const cpu::Isa& isa, const Network& net, int64_t window);
  void reset() override;
  int64_t wanted() const override { return means_.wanted(); }
  void hear(const float* samples, int64_t count) override { means_.hear(samples, count); }
  bool next() override;
  bool next_at_end() override;
  void pooled(float* to) override { pooling_.pooled(to); }

 private:
  bool pool(const float* frame);

  FrameMeans means_;
  Head head_;
  Pooling pooling_;
  std::vector<float> frame_;
  bool heard_all_ = false;
};

// A network that normalises clips hears every window anew, as a clip of its own.
class WholeWindows : public Listener {
 public:
  WholeWindows(const cpu::Isa& isa, const Network& net, int64_t window);
  void reset() override { filled_ = newest_ = 0; }
  int64_t wanted() const override { return net_.frame_samples() - newest_; }
  void hear(const float* samples, int64_t count) override;
  bool next() override;
  bool next_at_end() override;
  void pooled(float* to) override;

 private:
  void normalise_level();
  void normalise_frames(int64_t frames);

  const Network& net_;
  FrameMeans means_;
  Head head_;
  Pooling pooling_;
  std::vector<float> samples_, heard_, frames_;  // of a window; heard: as the network does
  int64_t filled_ = 0, newest_ = 0;              // samples; of them of the frame that is not complete
};

}  // namespace wavenet::runtime
