// Scratch memory aligned to a cache line, counted, so that benchmarks see it. With WAVENET_POISON (the sanitizer
// builds) it starts as NaNs, so that a read of something never written shows.
#pragma once

#include <cstddef>
#include <memory>

namespace wavenet::cpu {

constexpr std::size_t kAlignment = 64;

inline std::size_t aligned_size(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// How far apart memory lies that two threads write to again and again: a processor reads ahead of a thread that goes in
// strides, by tens of kilobytes, and takes lines away from the core that is about to write to them.
constexpr std::size_t kApart = std::size_t{64} << 10;

struct Free {
  std::size_t bytes = 0;
  void operator()(char* p) const;
};
using Memory = std::unique_ptr<char[], Free>;

// Throws std::bad_alloc.
Memory allocate(std::size_t bytes);

// Asks for large pages where these are not in use yet, if they are many and the system has such: 37 MB that every step
// takes anew cost 17 ms of page faults in small ones, 2 in large ones (Zen 5, a virtual machine).
void prefer_large_pages(void* data, std::size_t bytes);

// The most bytes that were allocated at one time since the last call with reset.
std::size_t workspace_peak(bool reset);

}  // namespace wavenet::cpu
