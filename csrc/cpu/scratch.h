// Cuts one piece of memory into arrays, each on a cache line of its own; over no memory, it counts what would be
// needed. Included by isa.cpp and quantized_kernels.cpp.
#pragma once

class Scratch {
 public:
  explicit Scratch(void* memory) : base_(reinterpret_cast<uintptr_t>(memory)) {}

  template <class T>
  T* take(int64_t count) {
    T* here = reinterpret_cast<T*>(base_ + used_);
    used_ += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
    return here;
  }
  int64_t used() const { return used_; }

 private:
  uintptr_t base_;  // a number, for nothing may be added to a pointer to no memory
  int64_t used_ = 0;
};
