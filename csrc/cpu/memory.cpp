#include "cpu/memory.h"

#include <atomic>
#include <cstring>
#include <new>

namespace wavenet::cpu {

namespace {

std::atomic<std::size_t> held{0}, peak{0};

}  // namespace

void Free::operator()(char* p) const {
  ::operator delete(p, std::align_val_t(kAlignment));
  held.fetch_sub(bytes, std::memory_order_relaxed);
}

Memory allocate(std::size_t bytes) {
  bytes = aligned_size(bytes + 1);
  Memory memory(static_cast<char*>(::operator new(bytes, std::align_val_t(kAlignment))), Free{bytes});
  const std::size_t now = held.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  for (std::size_t before = peak.load(); before < now && !peak.compare_exchange_weak(before, now);) {
  }
#if defined(WAVENET_POISON)
  std::memset(memory.get(), 0xff, bytes);
#endif
  return memory;
}

std::size_t workspace_peak(bool reset) { return reset ? peak.exchange(held.load()) : peak.load(); }

}  // namespace wavenet::cpu
