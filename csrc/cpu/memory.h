// Scratch memory aligned to a cache line. With WAVENET_POISON (the sanitizer build) it starts as NaNs, so
// that a read of something never written shows.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace wavenet::cpu {

constexpr std::size_t kAlignment = 64;

struct FreeAligned {
  void operator()(char* p) const { ::operator delete(p, std::align_val_t(kAlignment)); }
};
using Memory = std::unique_ptr<char[], FreeAligned>;

inline std::size_t aligned_size(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

inline Memory allocate(std::size_t bytes) {
  bytes = aligned_size(bytes + 1);
  Memory memory(static_cast<char*>(::operator new(bytes, std::align_val_t(kAlignment))));
#if defined(WAVENET_POISON)
  std::memset(memory.get(), 0xff, bytes);
#endif
  return memory;
}

}  // namespace wavenet::cpu
