// What plans know of the device that they are made for.
#pragma once

#include <algorithm>
#include <string>

namespace wavenet::cuda {

struct Device {
  bool here = false;  // and not just a typical one
  int multiprocessors = 1;
  int shared_bytes = 0;           // that a block may have
  int shared_bytes_all = 0;       // of a multiprocessor
  int shared_bytes_reserved = 0;  // of all, what the system takes for every block
  // Of a multiprocessor in a clock, at best: 16-bit multiply-adds with sums of 32 bits; bytes from memory.
  double multiplies = 0, bytes = 0;

  // Blocks that a multiprocessor holds, of those that registers leave room for.
  int resident(int by_registers, int bytes) const {
    return std::max(1, std::min(by_registers, shared_bytes_all / (bytes + shared_bytes_reserved)));
  }
};

// The one of that index, as CUDA describes it, with the rates of its architecture.
Device device_at(int index);

// A typical chip of an architecture, which need not be here, as compilers call it: "sm_90". Throws
// std::invalid_argument for one that isn't known.
Device typical_device(const std::string& architecture);

}  // namespace wavenet::cuda
