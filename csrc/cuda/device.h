// What plans know of the device that they are made for.
#pragma once

#include <string>

namespace wavenet::cuda {

struct Device {
  int multiprocessors = 1;
  int shared_bytes = 0;           // that a block may have
  int shared_bytes_all = 0;       // of a multiprocessor
  int shared_bytes_reserved = 0;  // of all, what the system takes for every block
  // Of a multiprocessor in a clock, at best: 16-bit multiply-adds with sums of 32 bits; bytes from memory.
  double multiplies = 0, bytes = 0;
};

// CUDA's current one, as it describes itself, with the rates of its architecture.
Device current_device();

// A typical chip of an architecture, which need not be here, as compilers call it: "sm_90". Throws
// std::invalid_argument for one that isn't known.
Device typical_device(const std::string& architecture);

}  // namespace wavenet::cuda
