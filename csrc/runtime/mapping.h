// A file's content in memory: mapped where the system can do that, else read.
#pragma once

#include <cstdint>

#include "cpu/memory.h"

namespace wavenet::runtime {

class Mapping {
 public:
  explicit Mapping(const char* path);  // throws std::system_error
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const char* bytes() const { return bytes_; }
  uint64_t size() const { return size_; }

 private:
  const char* bytes_ = nullptr;
  uint64_t size_ = 0;
  cpu::Memory read_;
};

}  // namespace wavenet::runtime
