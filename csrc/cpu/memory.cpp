#include "cpu/memory.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

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

void prefer_large_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  constexpr std::size_t kLargePage = std::size_t{2} << 20;
  const std::size_t skipped = -reinterpret_cast<std::uintptr_t>(data) % kLargePage;
  if (bytes < skipped + kLargePage) return;
  const std::size_t whole = (bytes - skipped) / kLargePage * kLargePage;
  madvise(static_cast<char*>(data) + skipped, whole, MADV_HUGEPAGE);  // where it fails, pages are small
#endif
}

std::size_t workspace_peak(bool reset) { return reset ? peak.exchange(held.load()) : peak.load(); }

}  // namespace wavenet::cpu
